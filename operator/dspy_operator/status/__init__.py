"""Pure functions from what was observed to conditions and status fields."""
