"""Tests of what backends are made of."""
