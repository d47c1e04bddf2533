"""Losses as they are: anybody's callables that return a torch loss, measured as estimators of a suite are."""
