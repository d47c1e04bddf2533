"""``python -m gradbench``: the command line."""

from gradbench.cli import main

if __name__ == "__main__":
    main()
