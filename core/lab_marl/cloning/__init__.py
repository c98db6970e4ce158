"""Behaviour cloning, the baseline that every offline method is compared with: BC-t and BC-r."""
