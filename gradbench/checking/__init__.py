"""gradcheck for stochastic gradients: whether an estimator keeps its promises and its mean is the gradient.

`contract` runs the surrogate a few times and looks for what no statistics could excuse; `verdict` measures it
against exact gradients, with more and more replicates until the answer is clear; `diagnosis` puts a bias in words.
"""
