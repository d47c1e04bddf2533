"""``python -m gradbench``: the command line."""

import sys

from gradbench.cli import command

if __name__ == "__main__":
    sys.argv[0] = "gradbench"  # manifests and messages say how to repeat a command, which __main__.py does not
    command()
