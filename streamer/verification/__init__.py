"""Forecasts held to what was true: files by what they hold, matched by valid time."""
