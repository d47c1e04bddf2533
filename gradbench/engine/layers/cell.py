"""The accumulators of one cell of the layers path, and what a pass adds to them.

In float32, E‖ĝ‖² − ‖Eĝ‖² loses the variance where it is far below ‖Eĝ‖². Layers whose variance by datapoint comes near
that are taken again with Gram matrices in float64, or with gradients formed and centred; where the variance is that of
whole minibatches, the blocks are evaluated again.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients, Noise
from gradbench.engine.general import pilot
from gradbench.engine.layers import products
from gradbench.engine.layers.datapoints import blocked, datapoint_variances, pieces_of
from gradbench.engine.layers.likelihoods import Known, Likelihoods, OfParameter
from gradbench.engine.layers.means import BlockMeans, matrix
from gradbench.engine.layers.recalling import Recall, UnlikeError
from gradbench.engine.layers.recorded import record
from gradbench.engine.layers.recording import Explicit, Linear
from gradbench.engine.moments import Moments, assembled
from gradbench.engine.passes import Pass, plan
from gradbench.engine.task import Task, slice_noise

CANCELLED = 1e-3
"""Below this variance / mean square, float32 sums of squares are not trusted: 1e-6 of rounding would be 0.1 %."""
CENTRE_REPLICATES, CENTRE_FEWEST = 32, 8
"""Replicates whose mean is the centre that distances are taken from; if a pass has less, but at least the second."""


class _CancelledError(Exception):
    """The variance of whole minibatches was lost to rounding: take the group again, carefully."""


class LayersCell:
    """The accumulators of one cell, allocated once.

    A pass looks at what comes out of it where that decides how it goes on. On a device each look waits for all that was
    asked of it before: `unlooked` passes note what there was to see in ``doubt``, for whoever looks at that later.
    """

    def __init__(
        self,
        task: Task,
        blocks: range,
        per_block: int,
        reference: Gradients,
        budget: int,
        *,
        by_datapoint: bool,
        device: torch.device | None = None,
    ) -> None:
        """``device``: where the accumulators are; None: where the task is, as it must be for passes."""
        device = torch.device(task.point.device) if device is None else device
        self.task, self.blocks, self.per_block = task, blocks, per_block
        self.by_datapoint, self.careful = by_datapoint, False
        self.looks, self.checked = True, False
        self.likelihoods: Likelihoods | None = None
        self.known: Known | None = None
        """What is known of the blocks at hand, from their first replicate on."""
        self.plan, self.costs = plan(task, per_block), products.costs_on(torch.device(task.point.device))
        parameters = task.point.problem.named_parameters()
        self.reference = {name: reference[name].to(value).reshape(matrix(value)) for name, value in parameters.items()}
        self.norms = {name: float(value.square().sum()) for name, value in reference.items()}
        self.means = BlockMeans(parameters, len(blocks), per_block, budget, device)
        self.row = {name: index for index, name in enumerate(parameters)}
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self.within = zeros(len(parameters), len(blocks))
        self.pieces = zeros(len(blocks))
        self.probes = zeros(3, len(parameters), len(blocks), self.plan.probes)
        self.doubt = torch.zeros((), dtype=torch.bool, device=device)
        """Whether an unlooked pass had something to see: a variance lost to rounding, mixed rows, no finite number."""
        self.centre: Gradients = {}
        self.told: dict[str, Tensor] = {}

    def take(self, other: LayersCell, rows: slice) -> None:
        """Let what some blocks tell be what ``other`` has of all of its own."""
        self.means.take(other.means, rows)
        self.within[:, rows], self.pieces[rows], self.probes[:, :, rows] = other.within, other.pieces, other.probes

    def tensors(self) -> list[Tensor]:
        """All that passes add to."""
        return [self.within, self.pieces, self.probes, self.doubt, *self.means.tensors()]

    def evaluate(self, group: list[Pass], noise: Noise) -> None:
        """Evaluate whole blocks: by what is known, or from the start; carefully, where it turns out that it must be."""
        try:
            self._take_all(group, noise, careful=False)
        except UnlikeError:
            self.likelihoods = None  # so it will be in every other group
            self.evaluate(group, noise)
        except _CancelledError:
            self._take_all(group, noise, careful=True)

    def unlooked(self, group: list[Pass], noise: Noise) -> None:
        """Evaluate whole blocks from the start, without a look at what comes out, but into ``doubt``."""
        self.doubt.zero_()
        self.looks = False
        try:
            self._take_all(group, noise, careful=False)
        finally:
            self.looks = True

    def _take_all(self, group: list[Pass], noise: Noise, *, careful: bool) -> None:
        """Raises _CancelledError where a variance is lost to rounding, and none has been yet."""
        self.careful = careful
        rows = group[0].rows
        self.within[:, rows], self.pieces[rows] = 0, 0
        self.means.begin(rows)
        self.told.clear()
        for part in group:
            self._take(part, noise if part.whole else slice_noise(noise, slice(part.start, part.stop)))

    def _take(self, part: Pass, noise: Noise) -> None:
        recall, doubts = self._recall(part), None if self.looks or not self.checked else []
        linear, explicit = record(
            self.task,
            noise,
            part.replicates,
            by_datapoint=self.by_datapoint,
            check=not self.checked,
            doubts=doubts,
            recall=recall,
        )
        self.checked = True
        for mixed in doubts or []:
            self.doubt |= mixed
        with torch.no_grad():
            known = None if recall is None else recall.known()
            if known is not None:
                self._take_over(known, part)
            self.means.add(linear, explicit, part)
            self._find_centre(part)
            if self.by_datapoint:
                self._within_by_datapoint(linear, explicit, part)
            else:
                self._within_whole(linear, explicit, part)
            if known is not None and (self.careful or not self._centred_alike(known)):  # what is known was made without
                raise UnlikeError
            self._check(linear, explicit, part)
            self._probe(linear, explicit, part)
            if recall is not None and known is None and not self.careful:
                known = recall.keep(lambda name: self._told(name, part), {} if part.whole else self.centre)
            self.known = known

    def moments(self) -> Moments:
        """What all passes told."""
        within, probes = self.within.cpu().numpy(), self.probes.cpu().numpy()
        if self.by_datapoint:
            within = within / self.pieces.cpu().numpy() * (self.per_block - 1)
        means = self.means.arrays()
        return assembled(self.per_block, means, within, probes, self.norms, by_datapoint=self.by_datapoint)

    # likelihoods that are known

    def _recall(self, part: Pass) -> Recall | None:
        """What is known of the likelihood of a pass; None where nothing can be: single datapoints tell it alone."""
        if part.start == 0:
            self.known = None
        if self.likelihoods is None or not self.by_datapoint or (part.start > 0 and self.known is None):
            return None
        sizes = (self.task.samples, part.blocks, part.per_block, self.plan.compared, self.plan.piece)
        place = (self.blocks[part.first], part.start, part.stop)
        return Recall(self.likelihoods, (self.task.estimator.draws, *sizes), place, self.reference, self.known)

    def _centred_alike(self, known: Known) -> bool:
        return all(torch.equal(value, self.centre[name]) for name, value in known.centre.items())

    def _told(self, name: str, part: Pass) -> OfParameter:
        row, rows = self.row[name], part.rows
        return OfParameter(
            self.means.copy(name, part), self.within[row, rows].clone(), self.probes[:, row, rows].clone()
        )

    def _take_over(self, known: Known, part: Pass) -> None:
        for name, told in known.told.items():
            self.means.put(name, told.means, part)
            self.within[self.row[name], part.rows] = told.within
            self.probes[:, self.row[name], part.rows] = told.probes

    def _find_centre(self, part: Pass) -> None:
        """A gradient near the mean. It changes between passes, but never within a block."""
        if part.whole and part.replicates >= CENTRE_FEWEST:
            first = min(-(-CENTRE_REPLICATES // self.per_block), part.blocks)
            rows = slice(part.first, part.first + first)
            self.centre = {name: self.means.mean(name, rows).to(value) for name, value in self.reference.items()}
        elif not self.centre:
            with torch.enable_grad():
                found = pilot(self.task, CENTRE_REPLICATES)
            self.centre = {name: value.reshape(self.reference[name].shape) for name, value in found.items()}

    # variance

    def _within_by_datapoint(self, linear: list[Linear], explicit: list[Explicit], part: Pass) -> None:
        s = self.plan.piece
        pieces = max(0, min(part.stop, self.plan.compared) - part.start) // s
        self.pieces[part.rows] += pieces
        if pieces == 0:
            return
        some = (pieces, s)
        found = [datapoint_variances(one, part, some, careful=self.careful) for one in linear]
        if not self.looks:
            self.doubt |= _are_lost(found).any()
        for index in [] if self.careful or not self.looks else _lost(found):
            self.careful = True
            found[index] = datapoint_variances(linear[index], part, some, careful=True)
        for one, (weight, bias, _) in zip(linear, found, strict=True):
            self._tally(f"{one.name}.weight", weight)
            self._tally(f"{one.name}.bias", bias)
        for one in explicit:
            values = pieces_of(one.gradient.flatten(2), part, some)
            self._tally(one.name, products.variance_within(values))
        self._fold(part)

    def _within_whole(self, linear: list[Linear], explicit: list[Explicit], part: Pass) -> None:
        """Σ_r ‖ĝ − centre‖², or Σ_r ‖ĝ‖² by Gram matrices; at the end of a block, less what its mean has of it."""
        origin = dict(self.centre)
        for one in linear:
            a, delta = one.inputs.flatten(1, 2), one.delta.flatten(1, 2)
            name = f"{one.name}.weight"
            rows, outputs = delta.shape[1:]
            sizes = (rows, a.shape[-1], outputs)
            if self.careful or products.forming_is_cheaper(self.costs, *sizes, shared=one.shared, answers=0):
                sums = products.probe(a, delta, self.centre[name], self.reference[name], forming=True)[0]
            else:
                sums = products.squared_norms(a, delta)
                origin.pop(name)
            self._tally(name, sums)
            if f"{one.name}.bias" in self.row:
                self._tally(f"{one.name}.bias", products.squares(delta.sum(1) - self.centre[f"{one.name}.bias"]))
        for one in explicit:
            away = one.gradient.sum(1).flatten(1) - self.centre[one.name].flatten()
            self._tally(one.name, products.squares(away))
        self._fold(part)
        if part.stop < self.per_block:
            return
        rows = part.rows
        shifts = torch.stack([self.means.squares(name, rows, origin.get(name)) for name in self.row])
        total = self.within[:, rows]
        left = total - self.per_block * shifts
        uncentred = [row for name, row in self.row.items() if name not in origin]
        cancelled = [left[row].sum() < CANCELLED * total[row].sum() for row in uncentred]
        if cancelled and not self.careful:
            lost = torch.stack(cancelled).any()
            if not self.looks:
                self.doubt |= lost
            elif bool(lost):
                raise _CancelledError
        self.within[:, rows] = left.clamp_min(0.0)

    def _tally(self, name: str, values: Tensor) -> None:
        if name in self.row:
            self.told[name] = values

    def _fold(self, part: Pass) -> None:
        """Add what was tallied, by replicate or by piece, to its blocks."""
        if self.told:
            none = torch.zeros_like(next(iter(self.told.values())))
            told = torch.stack([self.told.get(name, none) for name in self.row])
            self.within[:, part.rows] += told.unflatten(1, (part.blocks, -1)).sum(2)
        self.told.clear()

    # cosine and kurtosis

    def _probe(self, linear: list[Linear], explicit: list[Explicit], part: Pass) -> None:
        stop = min(part.stop, self.plan.probes)
        if stop <= part.start:
            return
        some = stop - part.start

        def chosen(value: Tensor) -> Tensor:
            return blocked(value, part)[:, :some].flatten(0, 1)

        for one in linear:
            delta = chosen(one.delta).flatten(1, 2)
            a = (one.inputs if one.shared else chosen(one.inputs)).flatten(1, 2)
            name = f"{one.name}.weight"
            rows, outputs = delta.shape[1:]
            sizes = (rows, a.shape[-1], outputs)
            forming = self.careful or products.forming_is_cheaper(self.costs, *sizes, shared=one.shared)
            self._answer(name, products.probe(a, delta, *self._targets(name), forming=forming), part, stop)
            if f"{one.name}.bias" in self.row:
                self._answer_formed(f"{one.name}.bias", delta.sum(1), part, stop)
        for one in explicit:
            self._answer_formed(one.name, chosen(one.gradient).sum(1).flatten(1), part, stop)

    def _targets(self, name: str) -> tuple[Tensor, Tensor]:
        return self.centre[name], self.reference[name]

    def _answer_formed(self, name: str, gradient: Tensor, part: Pass, stop: int) -> None:
        centre, reference = (value.flatten() for value in self._targets(name))
        inner = (gradient @ reference).double()
        found = torch.stack([products.squares(gradient - centre), products.squares(gradient), inner])
        self._answer(name, found, part, stop)

    def _answer(self, name: str, found: Tensor, part: Pass, stop: int) -> None:
        rows = self.probes[:, self.row[name], part.rows, part.start : stop]
        rows.copy_(found.unflatten(1, (part.blocks, -1)))

    def _check(self, linear: list[Linear], explicit: list[Explicit], part: Pass) -> None:
        """Raise MeasurementError where a replicate of the pass is not finite. Every δ is in a mean of a block."""
        most = torch.finfo(self.task.point.dtype()).max
        fine = (self.within[:, part.rows].abs() <= most).all() & self.means.are_finite(part.rows)
        if not self.looks:
            self.doubt |= ~fine
            return
        if bool(fine):
            return
        values = [one.delta for one in linear] + [one.gradient for one in explicit]
        fine = torch.stack([torch.isfinite(value).flatten(1).all(1) for value in values]).all(0)
        broken, total = int((~fine).sum()) or part.replicates, part.replicates  # none: their squares are not finite
        raise MeasurementError(f"{broken} of {total} replicates gave a gradient that is not finite (NaN or infinite)")


def _lost(found: list[tuple[Tensor, Tensor, Tensor | None]]) -> list[int]:
    """Which layers' variances, as `datapoint_variances` gives them, are lost to rounding beside their mean square."""
    which = [index for index, (*_, size) in enumerate(found) if size is not None]
    return [index for index, is_lost in zip(which, _are_lost(found).tolist(), strict=True) if is_lost]  # in one look


def _are_lost(found: list[tuple[Tensor, Tensor, Tensor | None]]) -> Tensor:
    """The same of those layers alone whose variances may cancel, [layers]."""
    some = [(weight.sum(), bias.sum(), size) for weight, bias, size in found if size is not None]
    if not some:
        return torch.zeros(0, dtype=torch.bool)
    sums = torch.stack([torch.stack([weight, bias]) for weight, bias, _ in some])
    return (sums < CANCELLED * torch.stack([size for *_, size in some])).any(1)
