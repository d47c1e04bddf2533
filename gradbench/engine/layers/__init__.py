"""The layers path: norms and inner products of every replicate's gradient, read off its linear layers."""
