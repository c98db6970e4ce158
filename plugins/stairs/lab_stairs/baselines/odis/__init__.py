"""ODIS: skills found first, then a policy over them."""
