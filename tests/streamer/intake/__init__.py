"""Tests of streamer/intake."""
