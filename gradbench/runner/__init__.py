"""The runner: cells to rows."""
