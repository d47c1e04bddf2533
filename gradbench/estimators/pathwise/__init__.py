"""Estimators that differentiate along the sampling path."""
