"""One self-contained page on one run or several: words, figures, rows, claims, environment."""
