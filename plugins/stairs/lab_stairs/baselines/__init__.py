"""The methods that STAIRS-Former is compared with, on the same data and evaluation."""
