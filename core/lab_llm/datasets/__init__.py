"""The dataset components: countdown, rows of files, reasoning-gym."""
