"""Tests of streamer/bus."""
