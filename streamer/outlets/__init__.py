"""Outlets: what was published of a step, written to files that GIS and science tools open."""
