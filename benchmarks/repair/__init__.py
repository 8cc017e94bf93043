"""How many of the examples `policy.search` repairs, and at what cost."""
