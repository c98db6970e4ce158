"""From a command to its jobs: devices, processes, signals, endings."""
