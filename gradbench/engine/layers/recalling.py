"""One pass, and what is known of the likelihood of its samples before it or after it."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from gradbench.core.types import Gradients
from gradbench.engine.layers.likelihoods import Known, Likelihoods, OfParameter, PlaceOfPass
from gradbench.engine.layers.recording import RecordingCalls, Term


class UnlikeError(Exception):
    """A pass that began with values that were known takes another gradient of them: it is to be made anew."""


class Recall:
    """The likelihood of one pass.

    ``plan`` is what decides, beside ``place``, what is evaluated together; ``reference`` what probes are held to;
    ``before`` what was known of the same blocks in the pass before.
    """

    def __init__(
        self, likelihoods: Likelihoods, plan: Hashable, place: PlaceOfPass, reference: Gradients, before: Known | None
    ) -> None:
        self.likelihoods, self.plan, self.place = likelihoods, plan, place
        self.reference, self.before = reference, before

    def watch(self, theta: RecordingCalls) -> None:
        """Let ``theta`` take what is known, and note what is made."""
        self.theta = theta
        theta.find = self._find

    def _find(self, x: Tensor, z: Tensor) -> Known | None:
        found = self.likelihoods.find(self.plan, self.place, x, z, self.reference)
        return found if found is not None and found.before is self.before else None

    def known(self) -> Known | None:
        """What the values that were taken told; None where none were. Raises UnlikeError where it may not be so here.

        To be asked once the gradients in the values are found.
        """
        terms = self.theta.terms
        if all(one.known is None for one in terms):
            return None
        found = terms[0].known
        if found is None or len(terms) > 1 or not _same(terms[0].upstream, found.upstream):
            raise UnlikeError
        free = {self.theta.prefix + name for name in self.theta.leaves}
        if self.theta.layers & found.layers or free & found.told.keys():  # they have another part in this pass
            raise UnlikeError
        return found

    def keep(self, told: Callable[[str], OfParameter], centre: Gradients) -> Known | None:
        """Know from now on what was made, if it was by layers that did nothing else: ``told`` of a parameter.

        ``centre``: what distances are taken from, where it does not follow from what was told.
        """
        if len(self.theta.terms) != 1 or not _by_layers_alone(self.theta, (term := self.theta.terms[0])):
            return None
        names = [name for name in self.reference if name.rpartition(".")[0] in term.layers]
        assert term.upstream is not None
        known = Known(
            term.x,
            term.z.clone(),
            term.values,
            term.upstream.clone(),
            term.layers,
            {name: told(name) for name in names},
            {name: self.reference[name] for name in names},
            {name: centre[name] for name in names if name in centre},
            self.before,
        )
        return known if self.likelihoods.keep(self.plan, self.place, known) else None


def _same(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and torch.equal(one, other)


def _by_layers_alone(theta: RecordingCalls, term: Term) -> bool:
    """Whether the term was made by layers, and they had no part in anything else."""
    calls = sum(site.layer in term.layers for site in theta.sites)
    return term.known is None and term.upstream is not None and 0 < calls == term.calls
