"""What a worker process tells the run that began it: first parts of its messages."""

UP, READY, TICK, REFERENCE, NOTE, DONE, UNUSABLE = "up", "ready", "tick", "reference", "note", "done", "unusable"
BEGUN = ".begun"
"""How the file ends that a task of Ray leaves while it measures: one that left none may be given out again."""
