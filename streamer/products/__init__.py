"""What is published of a step: products as configured, planned, gathered, judged, printed."""
