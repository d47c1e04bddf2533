"""What a process imports that workers are copied from: all that a worker needs."""

from gradbench.core.isolation.importing import uncollected

with uncollected():
    import gradbench.runner.executors.worker  # noqa: F401 (importing it is the purpose)
