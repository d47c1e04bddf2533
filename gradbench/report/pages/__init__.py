"""Pages of docs/ that are made from the declarations and from the kept runs.

``python -m gradbench.cli.pages docs`` writes them, and the page of the command line.
"""

from gradbench.report.pages.written import ESTIMATORS_FOLDER, pages

__all__ = ["ESTIMATORS_FOLDER", "pages"]
