"""The error rates that everything is stated at."""

LEVEL = 0.95
"""Coverage of every interval."""
ALPHA = 1 - LEVEL
"""Level of every test, and of the family of tests after correction."""
MARGIN = 0.05
"""Default equivalence margin: a relative bias certainly below it counts as none."""
