"""User code beside other measurements: what it may not leave changed is noted, compared, put back and named."""
