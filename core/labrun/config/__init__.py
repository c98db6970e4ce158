"""From the words of a command to one checked experiment and its components."""
