"""The sink: reads what the daemon published, and writes files of it, a step at a time."""
