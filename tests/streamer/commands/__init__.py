"""Tests of streamer/commands."""
