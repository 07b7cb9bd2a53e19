"""How good masks are: counts, scores, intervals, and the report of them."""
