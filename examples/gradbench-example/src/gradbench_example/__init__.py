"""An estimator and a problem for gradbench."""
