"""gradbench: bias and variance of ELBO gradient estimators, with error bars, against exact gradients."""
