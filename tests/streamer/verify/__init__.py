"""Tests of streamer/verify."""
