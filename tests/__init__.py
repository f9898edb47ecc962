"""The same rooms, mirrored."""
