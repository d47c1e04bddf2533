"""What is measured at: a point, its training, its reference gradients."""
