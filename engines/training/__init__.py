"""Fit a denoiser to arrays of pairs; knows no weather, and nothing of where the pairs came from.

Importing this, `settings` or `options` needs no torch; the other modules do.
"""
