"""One file a verb of the command line; the composition roots."""
