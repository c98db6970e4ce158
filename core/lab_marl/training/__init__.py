"""What every offline method shares: its settings, its loop, its inputs entity by entity."""
