"""The command `lab`, one module a family of commands."""
