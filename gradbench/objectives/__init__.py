"""Objectives: what is differentiated."""
