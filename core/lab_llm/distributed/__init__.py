"""What the processes of one run do together."""
