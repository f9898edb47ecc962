"""What the demo brings along: synthetic weather, and the GRIB messages that carry it."""
