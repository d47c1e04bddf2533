"""The pages of docs/ on what ``import gradbench as gb`` has, by what names are for; building the site fills them in."""

from __future__ import annotations

import gradbench

FACE_SECTIONS = {
    "measuring": ("Measure and read", ("results", "losses", "runner"), "What measures, reads and compares results."),
    "checking": ("Check", ("checking", "testing"), "Is an estimator, problem, family or objective right?"),
    "figures": ("Figures", ("report",), "Pictures of results, for a paper."),
    "estimators": (
        "Estimators",
        ("estimators", "core/types"),
        "What an estimator declares, and the words for what is held constant in it.",
    ),
    "problems": ("Problems", ("problems",), "What a model of one's own is made of."),
    "families": ("Families", ("families",), "Kinds of distribution of latents."),
    "objectives": ("Objectives", ("objectives",), "What is differentiated."),
    "errors": ("Errors", ("core/errors",), "Every error is a `GradbenchError`, and says what to do."),
}
"""By page: its title, the rooms whose names are on it, and a sentence about them."""


def face_pages() -> dict[str, str]:
    """File name to text: an index, and a page for each section that has names. Raises KeyError for a name of none."""
    names: dict[str, list[str]] = {key: [] for key in FACE_SECTIONS}
    for name in sorted(set(gradbench.__all__) - {"__version__"}, key=lambda name: (name.lower(), name)):
        names[_section(gradbench._WHERE[name])].append(name)
    pages = {f"{key}.md": _page(key, found) for key, found in names.items() if found}
    rows = [f"- [{FACE_SECTIONS[key][0]}]({key}.md): {_listed(found)}" for key, found in names.items() if found]
    return {"index.md": "\n".join([INDEX, *rows]) + "\n", **pages}


INDEX = """\
# Python

`import gradbench as gb` is all that plugins, notebooks and scripts need; the modules behind it may move. The import
alone takes neither torch nor pandas.
"""


def _page(key: str, names: list[str]) -> str:
    title, _, about = FACE_SECTIONS[key]
    return "\n\n".join([f"# {title}", about, *(f"::: gradbench.{name}" for name in names)]) + "\n"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _section(module: str) -> str:
    """The key of the section that a module's names are in: that of the longest room that it lies in."""
    path = module.removeprefix("gradbench.").replace(".", "/")
    found = {
        room: key for key, (_, rooms, _) in FACE_SECTIONS.items() for room in rooms if f"{path}/".startswith(f"{room}/")
    }
    return found[max(found, key=len)]
