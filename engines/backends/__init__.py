"""One file a runtime; each is the only door to its library."""
