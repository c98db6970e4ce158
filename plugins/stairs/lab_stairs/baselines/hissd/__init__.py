"""HiSSD: skills common to all tasks, and skills of one task."""
