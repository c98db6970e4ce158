"""`launcher=ray`: Ray Jobs, and what a Ray cluster says of them."""
