"""Tests of streamer/grib."""
