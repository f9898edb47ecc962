"""Tests of streamer."""
