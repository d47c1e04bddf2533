"""Estimators of multi-sample bounds."""
