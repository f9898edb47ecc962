"""Forecasts held to what was true."""
