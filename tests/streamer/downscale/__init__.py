"""Tests of streamer/downscale."""
