"""Reading results: scores and pictures."""
