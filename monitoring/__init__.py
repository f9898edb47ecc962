"""The meter cupboard: every metric declared once, and the probes that show them."""
