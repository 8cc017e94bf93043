"""Real bugs to repair; see README.md."""
