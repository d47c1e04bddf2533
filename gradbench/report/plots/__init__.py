"""Figures for papers, drawn with matplotlib (extra ``plot``): files of `gradbench plot`, and ``gb.plot``."""

from gradbench.report.plots import functions as plot

__all__ = ["plot"]
