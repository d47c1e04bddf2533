"""The layers path: norms and inner products of every replicate's gradient, read off its linear layers.

One plain pass over many replicates, one ``autograd.grad`` over the outputs of the linear layers (`recording`), and
the algebra of `products` yield a block's mean gradient, its variance, and what a part of its replicates tell about
cosine and kurtosis. No replicate's gradient is formed unless that is cheaper.

In float32, E‖ĝ‖² − ‖Eĝ‖² loses the variance where it is far below ‖Eĝ‖². Layers whose variance by datapoint comes near
that are taken again with Gram matrices in float64, or with gradients formed and centred; where the variance is that of
whole minibatches, the blocks are evaluated again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gradbench.core.bank import Bank
from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients, Noise
from gradbench.engine.general import block_stream, pilot
from gradbench.engine.layers import apart, products
from gradbench.engine.layers.datapoints import blocked, datapoint_variances, pieces_of
from gradbench.engine.layers.factored import Factored
from gradbench.engine.layers.likelihoods import Known, Likelihoods, OfParameter
from gradbench.engine.layers.recalling import Recall, UnlikeError
from gradbench.engine.layers.recording import Explicit, Linear, RecordingCalls, check_ties, deltas
from gradbench.engine.layers.trust import MixesDatapointsError, NeedsGeneralPathError
from gradbench.engine.moments import Moments, assembled
from gradbench.engine.passes import Pass, plan
from gradbench.engine.task import Task, join_noise, slice_noise

CANCELLED = 1e-3
"""Below this variance / mean square, float32 sums of squares are not trusted: 1e-6 of rounding would be 0.1 %."""
CENTRE_REPLICATES, CENTRE_FEWEST = 32, 8
"""Replicates whose mean is the centre that distances are taken from; if a pass has less, but at least the second."""


def measure_layers(
    task: Task,
    blocks: range,
    per_block: int,
    reference: Gradients,
    budget: int,
    *,
    by_datapoint: bool,
    tick: Callable[[int], None] = lambda done: None,
    likelihoods: Likelihoods | None = None,
) -> Moments:
    """Moments of the given blocks, with block means of up to ``budget`` bytes in memory.

    ``by_datapoint``: the variance is added up over datapoints. ``likelihoods``: those that are known at the point; what
    is found is put there.
    Raises NeedsGeneralPathError where the task is not made of linear layers (or, by datapoint, where its datapoints
    cannot be told apart), and MeasurementError where a replicate's gradient is not finite.
    """
    if by_datapoint and not apart.is_known(task):
        check_apart(task)
    cell = _Cell(task, blocks, per_block, reference, budget, by_datapoint=by_datapoint)
    cell.likelihoods = likelihoods
    for group in cell.plan.groups(len(blocks)):
        some = blocks[group[0].first : group[0].first + group[0].blocks]
        noise = join_noise(task.noises(per_block, [block_stream(task, block) for block in some]))
        cell.evaluate(group, noise)
        tick(len(some) * per_block)
    return cell.moments()


def record(
    task: Task, noise: Noise, replicates: int, *, by_datapoint: bool, check: bool, recall: Recall | None = None
) -> tuple[list[Linear], list[Explicit]]:
    """Layers and free parameters of ``replicates`` with their δ; ``check``: see `deltas`.

    ``recall``: without the layers of a likelihood that it knows.
    """
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    phi = RecordingCalls(task.point.problem.phi, "phi.", replicates, batch if by_datapoint else 1)
    theta = RecordingCalls(task.point.problem.theta, "theta.", replicates, batch if by_datapoint else 1)
    if recall is not None:
        recall.watch(theta)
    linear, explicit = deltas(task.values(noise, phi, theta).sum(), (phi, theta), check=check)
    names = {one.name for one in explicit}
    for one in linear:
        if twice := names & {f"{one.name}.weight", f"{one.name}.bias"}:
            raise NeedsGeneralPathError(f"{min(twice)} is used both in its layer and as a free parameter")
        if by_datapoint and one.delta.shape[2] != batch:
            raise MixesDatapointsError(f"{one.name} does not tell datapoints apart")
    for one in explicit:
        if by_datapoint and one.gradient.shape[1] != batch:
            raise MixesDatapointsError(f"{one.name} does not tell datapoints apart")
    return linear, explicit


def layer_gradients(task: Task, noise: Noise, replicates: int) -> dict[str, Tensor]:
    """Each replicate's gradient, [R, P] by parameter tensor, formed from layers. Raises NeedsGeneralPathError."""
    check_ties(task.point.problem)
    linear, explicit = record(task, noise, replicates, by_datapoint=False, check=True)
    return gradients_told(linear, explicit, task.point.problem.named_parameters(), replicates)


def gradients_told(
    linear: list[Linear], explicit: list[Explicit], parameters: Mapping[str, Tensor], replicates: int
) -> dict[str, Tensor]:
    """The gradients [R, P] by parameter tensor that are told by layers and free parameters; 0 of what neither tells."""
    found = {name: value.new_zeros(replicates, value.numel()) for name, value in parameters.items()}
    for one in linear:
        a = one.inputs.expand(replicates, *one.inputs.shape[1:]).flatten(1, 2)
        delta = one.delta.flatten(1, 2)
        found[f"{one.name}.weight"] = (delta.mT @ a).flatten(1)
        if f"{one.name}.bias" in found:
            found[f"{one.name}.bias"] = delta.sum(1)
    return found | {one.name: one.gradient.sum(1).flatten(1) for one in explicit}


def check_apart(task: Task) -> None:
    """Raise MixesDatapointsError where the part of a datapoint in the gradient depends on another's noise."""
    batch = 1 if task.point.x is None else task.point.x.shape[2]
    if batch > 1:
        noise = apart.probing_noise(task)
        replicates = 1 + len(apart.subsets(batch))
        try:
            linear, explicit = record(task, noise, replicates, by_datapoint=True, check=False)
        except NeedsGeneralPathError:
            raise
        except Exception as error:  # a user's code may not take free parameters with an axis of datapoints
            text = " ".join(str(error).split())[:100]
            raise MixesDatapointsError(f"datapoints cannot be told apart ({type(error).__name__}: {text})") from error
        if apart.mixes(linear, explicit, batch):
            raise MixesDatapointsError(apart.MIXED)
    apart.note(task)


class _CancelledError(Exception):
    """The variance of whole minibatches was lost to rounding: take the group again, carefully."""


class _Cell:
    """The accumulators of one cell, allocated once."""

    def __init__(
        self,
        task: Task,
        blocks: range,
        per_block: int,
        reference: Gradients,
        budget: int,
        *,
        by_datapoint: bool,
    ) -> None:
        self.task, self.blocks, self.per_block = task, blocks, per_block
        self.by_datapoint, self.careful = by_datapoint, False
        self.likelihoods: Likelihoods | None = None
        self.known: Known | None = None
        """What is known of the blocks at hand, from their first replicate on."""
        self.plan = plan(task, per_block)
        parameters = task.point.problem.named_parameters()
        self.shapes = {name: _matrix(value) for name, value in parameters.items()}
        self.reference = {name: reference[name].to(value).reshape(_matrix(value)) for name, value in parameters.items()}
        self.norms = {name: float(value.square().sum()) for name, value in reference.items()}
        sizes = {name: value.numel() for name, value in parameters.items()}
        self.bank = Bank(len(blocks), sizes, task.point.dtype(), budget, zeroed=False)
        self.row = {name: index for index, name in enumerate(parameters)}
        self.within = torch.zeros(len(parameters), len(blocks), dtype=torch.float64)
        self.pieces = torch.zeros(len(blocks), dtype=torch.float64)
        self.probes = torch.zeros(3, len(parameters), len(blocks), self.plan.probes, dtype=torch.float64)
        self.factors: dict[str, tuple[Tensor, Tensor]] = {}
        self.centre: Gradients = {}
        self.told: dict[str, Tensor] = {}
        self.written: set[str] = set()
        """Parameters whose means the group at hand has put into the bank."""

    def evaluate(self, group: list[Pass], noise: Noise) -> None:
        """Evaluate whole blocks: by what is known, or from the start; carefully, where it turns out that it must be."""
        try:
            self._take_all(group, noise, careful=False)
        except UnlikeError:
            self.likelihoods = None  # so it will be in every other group
            self.evaluate(group, noise)
        except _CancelledError:
            self._take_all(group, noise, careful=True)

    def _take_all(self, group: list[Pass], noise: Noise, *, careful: bool) -> None:
        """Raises _CancelledError where a variance is lost to rounding, and none has been yet."""
        self.careful = careful
        rows = _rows(group[0])
        self.within[:, rows], self.pieces[rows] = 0, 0
        for left, _ in self.factors.values():
            left[rows] = 0
        self.told.clear()
        self.written.clear()
        for part in group:
            self._take(part, noise if part.whole else slice_noise(noise, slice(part.start, part.stop)))

    def _take(self, part: Pass, noise: Noise) -> None:
        recall, check = self._recall(part), part.first == part.start == 0
        linear, explicit = record(
            self.task, noise, part.replicates, by_datapoint=self.by_datapoint, check=check, recall=recall
        )
        with torch.no_grad():
            known = None if recall is None else recall.known()
            if known is not None:
                self._take_over(known, part)
            self._add_means(linear, explicit, part)
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
        within = self.within.numpy()
        if self.by_datapoint:
            within = within / self.pieces.numpy() * (self.per_block - 1)
        factors = {name: Factored(left.numpy(), a.numpy()) for name, (left, a) in self.factors.items()}
        means = self.bank.arrays() | factors
        return assembled(self.per_block, means, within, self.probes.numpy(), self.norms, by_datapoint=self.by_datapoint)

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
        row, rows = self.row[name], _rows(part)
        return OfParameter(
            self.bank.rows[name][rows].clone(), self.within[row, rows].clone(), self.probes[:, row, rows].clone()
        )

    def _take_over(self, known: Known, part: Pass) -> None:
        rows = _rows(part)
        for name, told in known.told.items():
            self.bank.rows[name][rows] = told.means
            self.written.add(name)
            self.within[self.row[name], rows] = told.within
            self.probes[:, self.row[name], rows] = told.probes

    # block means

    def _add_means(self, linear: list[Linear], explicit: list[Explicit], part: Pass) -> None:
        for one in linear:
            delta = blocked(one.delta, part)
            self._add(f"{one.name}.bias", delta.flatten(1, 3).sum(1), part)
            if self._factors(one):
                sums = delta.sum(1).flatten(1, 2).cpu()
                self.factors[f"{one.name}.weight"][0][_rows(part)].add_(sums, alpha=1 / self.per_block)
            elif one.shared:
                a = one.inputs.flatten(1, 2).expand(part.blocks, -1, -1)
                self._add_product(f"{one.name}.weight", delta.sum(1).flatten(1, 2), a, part)
            else:
                a = blocked(one.inputs, part).flatten(1, 3)
                self._add_product(f"{one.name}.weight", delta.flatten(1, 3), a, part)
        for one in explicit:
            self._add(one.name, blocked(one.gradient, part).sum((1, 2)).flatten(1), part)
        for name in self.bank.rows.keys() - self.written - self.factors.keys():
            self.bank.rows[name][_rows(part)] = 0  # no gradient reaches it
            self.written.add(name)

    def _factors(self, one: Linear) -> bool:
        """Whether the layer's mean is kept as factors: where they are the smaller."""
        name = f"{one.name}.weight"
        if name not in self.factors and one.shared:
            a, outputs = one.inputs.flatten(0, 2).cpu(), one.delta.shape[-1]
            if 2 * len(a) < a.shape[1]:
                left = torch.zeros(len(self.bank.rows[name]), len(a), outputs, dtype=a.dtype)
                self.factors[name] = (left, a)
        return name in self.factors

    def _mean(self, name: str, rows: slice) -> Tensor:
        """The mean of some of the block means."""
        if name in self.factors:
            left, a = self.factors[name]
            return left[rows].mean(0).mT @ a
        return self.bank.rows[name][rows].mean(0).reshape(self.shapes[name])

    def _mean_squares(self, name: str, rows: slice, origin: Tensor | None) -> Tensor:
        """‖block mean − origin‖², [K] in float64."""
        if name in self.factors:
            left, a = self.factors[name]
            found = Factored(left[rows].numpy(), a.numpy())
            square = found.squares()
            if origin is not None:
                flat = origin.flatten().double().cpu().numpy()
                square = square - 2 * found.inner(flat) + flat @ flat
            return torch.from_numpy(square)
        away = self.bank.rows[name][rows]
        return products.squares(away if origin is None else away - origin.flatten().cpu())

    def _add(self, name: str, sums: Tensor, part: Pass) -> None:
        if name not in self.bank.rows:
            return
        rows = self.bank.rows[name][_rows(part)]
        if name in self.written:
            rows.add_(sums.cpu(), alpha=1 / self.per_block)
        else:
            rows.copy_(sums).div_(self.per_block)
        self.written.add(name)

    def _add_product(self, name: str, delta: Tensor, a: Tensor, part: Pass) -> None:
        rows = self.bank.rows[name][_rows(part)]
        if rows.device == delta.device:
            target = rows.unflatten(1, self.shapes[name])
            target.baddbmm_(delta.mT, a, beta=1 if name in self.written else 0, alpha=1 / self.per_block)
            self.written.add(name)
        else:
            self._add(name, torch.bmm(delta.mT, a).flatten(1), part)

    def _find_centre(self, part: Pass) -> None:
        """A gradient near the mean. It changes between passes, but never within a block."""
        if part.whole and part.replicates >= CENTRE_FEWEST:
            first = min(-(-CENTRE_REPLICATES // self.per_block), part.blocks)
            rows = slice(part.first, part.first + first)
            self.centre = {name: self._mean(name, rows).to(value) for name, value in self.reference.items()}
        elif not self.centre:
            with torch.enable_grad():
                found = pilot(self.task, CENTRE_REPLICATES)
            self.centre = {name: value.reshape(self.shapes[name]) for name, value in found.items()}

    # variance

    def _within_by_datapoint(self, linear: list[Linear], explicit: list[Explicit], part: Pass) -> None:
        s = self.plan.piece
        pieces = max(0, min(part.stop, self.plan.compared) - part.start) // s
        self.pieces[_rows(part)] += pieces
        if pieces == 0:
            return
        some = (pieces, s)
        found = [datapoint_variances(one, part, some, careful=self.careful) for one in linear]
        for index in [] if self.careful else _lost(found):
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
            if self.careful or products.forming_is_cheaper(rows, a.shape[-1], outputs, shared=one.shared, answers=0):
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
        rows = _rows(part)
        shifts = torch.stack([self._mean_squares(name, rows, origin.get(name)) for name in self.row])
        total = self.within[:, rows]
        left = total - self.per_block * shifts
        cancelled = left.sum(1) < CANCELLED * total.sum(1)
        cancelled[[self.row[name] for name in origin]] = False
        if not self.careful and bool(cancelled.any()):
            raise _CancelledError
        self.within[:, rows] = left.clamp_min(0.0)

    def _tally(self, name: str, values: Tensor) -> None:
        if name in self.row:
            self.told[name] = values

    def _fold(self, part: Pass) -> None:
        """Add what was tallied, by replicate or by piece, to its blocks."""
        if self.told:
            sums = torch.stack(list(self.told.values())).unflatten(1, (part.blocks, -1)).sum(2).cpu()
            self.within[[self.row[name] for name in self.told], _rows(part)] += sums
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
            forming = self.careful or products.forming_is_cheaper(rows, a.shape[-1], outputs, shared=one.shared)
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
        rows = self.probes[:, self.row[name], _rows(part), part.start : stop]
        rows.copy_(found.unflatten(1, (part.blocks, -1)))

    def _check(self, linear: list[Linear], explicit: list[Explicit], part: Pass) -> None:
        """Raise MeasurementError where a replicate of the pass is not finite. Every δ is in a mean of a block."""
        rows = _rows(part)
        kept = [value[rows] for name, value in self.bank.rows.items() if len(self.shapes[name]) == 1]
        most = torch.finfo(self.task.point.dtype()).max
        if bool((self.within[:, rows].abs() <= most).all()) and all(torch.isfinite(value).all() for value in kept):
            return
        values = [one.delta for one in linear] + [one.gradient for one in explicit]
        fine = torch.stack([torch.isfinite(value).flatten(1).all(1) for value in values]).all(0)
        broken, total = int((~fine).sum()) or part.replicates, part.replicates  # none: their squares are not finite
        raise MeasurementError(f"{broken} of {total} replicates gave a gradient that is not finite (NaN or infinite)")


def _lost(found: list[tuple[Tensor, Tensor, Tensor | None]]) -> list[int]:
    """Which layers' variances, as `datapoint_variances` gives them, are lost to rounding beside their mean square."""
    some = [
        (index, weight.sum(), bias.sum(), size) for index, (weight, bias, size) in enumerate(found) if size is not None
    ]
    if not some:
        return []
    sums = torch.stack([torch.stack([weight, bias]) for _, weight, bias, _ in some])
    lost = (sums < CANCELLED * torch.stack([size for *_, size in some])).any(1).tolist()  # all in one look
    return [index for (index, *_), is_lost in zip(some, lost, strict=True) if is_lost]


def _rows(part: Pass) -> slice:
    return slice(part.first, part.first + part.blocks)


def _matrix(value: Tensor) -> tuple[int, ...]:
    """The shape that the gradient of a parameter is handled in: a matrix stays one, all else is flat."""
    return tuple(value.shape) if value.dim() == 2 else (value.numel(),)
