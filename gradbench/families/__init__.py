"""Families of posteriors q_φ(z|x)."""
