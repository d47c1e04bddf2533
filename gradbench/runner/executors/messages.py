"""What a worker process tells the run that began it: first parts of its messages."""

UP, READY, TICK, REFERENCE, NOTE, DONE, UNUSABLE = "up", "ready", "tick", "reference", "note", "done", "unusable"
