"""Score-function estimators."""
