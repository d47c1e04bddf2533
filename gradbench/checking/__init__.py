"""gradcheck for stochastic gradients: is an estimator what its surrogate promises, and is its mean the gradient?

`contract` runs the surrogate a few times and looks for what no statistics could excuse; `verdict` measures it
against exact gradients, with more and more replicates until the answer is clear; `diagnosis` puts a bias in words.
"""
