"""Estimators that are wrong on purpose, to show that the test of bias has power."""
