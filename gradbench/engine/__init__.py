"""The engine: replicates of a gradient estimate to blocks of moments, and what one gradient costs."""
