"""The caption of a sheet: what its panels share once, and what tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gradbench.report.figures import Figure


def caption_of(figures: Sequence[Figure]) -> str:
    """One paragraph for all panels; of one panel, its own."""
    if len(figures) == 1:
        return figures[0].caption
    titles = list(dict.fromkeys(figure.title for figure in figures))
    shared = {
        part: words
        for part, words in figures[0].cell.items()
        if words and all(figure.cell.get(part) == words for figure in figures)
    }
    own = []
    for figure in figures:
        words = "; ".join(words for part, words in figure.cell.items() if words and part not in shared)
        own.append(": ".join(dict.fromkeys((_name(figure), words or _name(figure)))))
    sentences = [
        f"{'; '.join(titles)}.",
        f"{'; '.join(shared.values())}." if shared else "",
        f"Panels: {' | '.join(own)}.",
        *_all(figure.reading for figure in figures),
        *_told_apart(figures, [figure.findings for figure in figures]),
        *_told_apart(figures, [figure.notes for figure in figures]),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _name(figure: Figure) -> str:
    return figure.panel or "panel"


def _told_apart(figures: Sequence[Figure], parts: Sequence[Sequence[str]]) -> Iterator[str]:
    """Sentences of all panels, each once; one that is not of every panel stands behind the words of its own."""
    for sentence in _all(parts):
        names = [_name(figure) for figure, some in zip(figures, parts, strict=True) if sentence in some]
        yield sentence if len(names) == len(figures) else f"{' | '.join(dict.fromkeys(names))}: {sentence}"


def _all(parts: Iterable[Sequence[str]]) -> list[str]:
    """Sentences of all panels, each once."""
    return list(dict.fromkeys(sentence for some in parts for sentence in some))
