"""The machine below: files, paths, disk, processes, streams."""
