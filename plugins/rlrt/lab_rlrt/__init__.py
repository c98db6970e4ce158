"""RLVR with a reversed teacher (arXiv 2605.10781)."""
