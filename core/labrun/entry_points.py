"""The group of entry points in which plugins stand."""

GROUP = "labrun"
