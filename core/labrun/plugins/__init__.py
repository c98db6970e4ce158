"""Which plugins are installed, and what each offers."""
