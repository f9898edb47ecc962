"""GRIB in and out: the doors to ecCodes and MIR stand here."""
