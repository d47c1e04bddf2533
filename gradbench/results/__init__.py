"""Rows: columns, files, frames, exports, slopes, outcomes of claims, comparisons."""
