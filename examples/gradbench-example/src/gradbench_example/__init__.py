"""A family, an objective, a problem and two estimators for gradbench, one file each."""
