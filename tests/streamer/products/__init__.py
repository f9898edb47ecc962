"""What is published of a step."""
