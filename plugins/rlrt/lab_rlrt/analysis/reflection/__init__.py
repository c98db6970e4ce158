"""What a reflective phrase changes at the position of largest divergence."""
