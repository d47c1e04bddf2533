"""Estimators for discrete latents."""
