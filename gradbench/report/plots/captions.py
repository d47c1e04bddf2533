"""The caption of a sheet: what its panels share once, and what tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
        own.append(f"{figure.panel or 'panel'}: {words}")
    sentences = [
        f"{'; '.join(titles)}.",
        f"{'; '.join(shared.values())}." if shared else "",
        f"Panels: {' | '.join(own)}.",
        *_all(figure.reading for figure in figures),
        *_all(figure.notes for figure in figures),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _all(parts: Iterable[Sequence[str]]) -> list[str]:
    """Sentences of all panels, each once."""
    return list(dict.fromkeys(sentence for some in parts for sentence in some))
