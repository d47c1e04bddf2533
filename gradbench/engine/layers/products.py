"""Norms and inner products of gradients that are never formed, from a layer's inputs a and output gradients δ.

In replicate r the weight's gradient is G_r = Σ_n δ_n a_nᵀ over its n rows, and the bias's is Σ_n δ_n. Then

- ‖G_r‖² = Σ_nn' ⟨a_n, a_n'⟩ ⟨δ_n, δ_n'⟩: two Gram matrices, n² (in + out) products instead of n · in · out;
- ⟨G_r, C⟩ = Σ_n δ_n · (C a_n);
- or G_r itself for a group of replicates that fits the cache, n · in · out products, where n is large.

Shapes: a [R, n, in] or [1, n, in] (the same in every replicate), δ [R, n, out]. The weight is [out, in].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GROUP_ELEMENTS = 2**19
"""Gradient entries formed at once: 2 MiB in float32."""


@dataclass(frozen=True)
class FormCosts:
    """What the two forms cost on a kind of device, relative to a product in a large matrix product."""

    gram: float
    """Of a product in a Gram matrix of few rows."""
    entry: float
    """Of writing an entry of a gradient and reducing it to a number."""


FORM_COSTS = {"cpu": FormCosts(2.0, 20.0)}
"""At which whole cells of VAEs take least; a kind that none were measured on is taken for a CPU. `benchmarks/forms.py`
says which suit one layer's probes on a device: on a CPU 5.7 and 5.7, with which whole cells are no faster. Figures
depend on them in their last bits, so that they are constants.
"""


def costs_on(device: torch.device) -> FormCosts:
    """The costs on a device."""
    return FORM_COSTS.get(device.type, FORM_COSTS["cpu"])


def forming_is_cheaper(
    costs: FormCosts, rows: int, inputs: int, outputs: int, *, shared: bool, answers: int = 2
) -> bool:
    """Whether it is cheaper to form the gradients of replicates of ``rows`` rows than to go by Gram matrices.

    ``answers``: inner products with given gradients that are wanted beside the norm.
    """
    entries = inputs * outputs
    formed = entries * (rows + costs.entry * (1 + answers))
    if shared:
        return formed < rows**2 * outputs + answers * rows * outputs
    return formed < costs.gram * rows**2 * (inputs + outputs) + answers * rows * entries


def probe(a: Tensor, delta: Tensor, centre: Tensor, reference: Tensor, *, forming: bool) -> Tensor:
    """‖G − centre‖², ‖G‖², ⟨G, reference⟩ of each replicate, [3, R] in float64; centre and reference [out, in]."""
    return (_probe_formed if forming else _probe_implied)(a, delta, centre, reference)


def _probe_formed(a: Tensor, delta: Tensor, centre: Tensor, reference: Tensor) -> Tensor:
    found = delta.new_empty(3, len(delta), dtype=torch.float64)
    step = max(1, GROUP_ELEMENTS // centre.numel())
    flat = centre.flatten()
    for start in range(0, len(delta), step):
        rows = slice(start, start + step)
        gradient = formed(a if len(a) == 1 else a[rows], delta[rows]).flatten(1)
        found[1, rows] = squares(gradient)
        found[2, rows] = (gradient @ reference.flatten()).double()
        found[0, rows] = squares(gradient - flat)  # in place, threads would write where others have read
    return found


def _probe_implied(a: Tensor, delta: Tensor, centre: Tensor, reference: Tensor) -> Tensor:
    norm = squared_norms(a, delta)
    along = (a @ torch.cat([centre, reference]).mT).unflatten(-1, (2, -1))
    inner = (along * delta.unsqueeze(-2)).sum((1, 3)).T.double()
    away = norm - 2 * inner[0] + centre.double().square().sum()
    return torch.stack([away.clamp_min(0.0), norm, inner[1]])


def formed(a: Tensor, delta: Tensor) -> Tensor:
    """The gradients themselves, [R, out, in]."""
    if len(a) == 1:
        return delta.mT @ a
    return torch.bmm(delta.mT, a)


def squared_norms(a: Tensor, delta: Tensor) -> Tensor:
    """‖G_r‖², [R] in float64, from Gram matrices."""
    if a.shape[1] == 1:
        return (squares(a.squeeze(1)) * squares(delta.squeeze(1))).expand(len(delta))
    if len(a) == 1:
        return ((a[0] @ a[0].mT) @ delta).mul_(delta).sum((1, 2), dtype=torch.float64)
    return (torch.bmm(a, a.mT) * torch.bmm(delta, delta.mT)).sum((1, 2), dtype=torch.float64)


def squares(rows: Tensor) -> Tensor:
    """Squared norm of each row, [R] in float64."""
    return torch.linalg.vector_norm(rows, dim=-1).double().square()


def variances(a: Tensor, delta: Tensor, replicates: int, *, careful: bool) -> tuple[Tensor, Tensor]:
    """The unbiased variance of weight and bias within groups of replicates, added up over the entries, [2, Q].

    a [Q, s · n, in] and δ [Q, s · n, out] hold Q groups of s = ``replicates`` of n rows each. The second answer is
    the mean square that the variance was taken from, [2, Q], where the two may cancel (0 where they cannot).

    Σ_r ‖G_r − mean‖² = Σ_r ‖G_r‖² − ‖Σ_r G_r‖² / s. Both sums are in the Gram matrices of all s · n rows; or the
    first is in those of n rows, and the second in the formed Σ_r G_r; or else every G_r is formed.
    """
    rows = a.shape[1] // replicates
    inputs, outputs = a.shape[2], delta.shape[2]
    costs = costs_on(delta.device)
    gram = costs.gram * replicates * rows * (inputs + outputs)
    entries = inputs * outputs
    summed = entries * (1 + costs.entry / (replicates * rows))
    summed += costs.gram * rows * (inputs + outputs) if rows > 1 else 0
    formed_ = entries * (1 + 2 * costs.entry / rows)
    if formed_ < min(gram, summed):
        found = torch.stack([_formed_variance(a, delta, replicates), variance_within(_by_replicate(delta, replicates))])
        return found, torch.zeros_like(found)
    if careful:
        a, delta = a.double(), delta.double()
    if gram <= summed:
        own, together = _gram_sums(a, delta, rows)
    else:
        sizes = squares(delta) if rows == 1 else squares(_by_replicate(delta, replicates))
        weight = (squares(a) * sizes).sum(-1) if rows == 1 else squared_norms_of_groups(a, delta, rows)
        own = torch.stack([weight, sizes.sum(-1)])
        together = torch.stack([squares(torch.bmm(delta.mT, a).flatten(1)), squares(delta.sum(1))])
    return (own - together / replicates) / (replicates - 1), own / replicates


def squared_norms_of_groups(a: Tensor, delta: Tensor, rows: int) -> Tensor:
    """Σ_r ‖G_r‖² within each of Q groups, replicates having ``rows`` rows each, [Q] in float64."""
    each = squared_norms(a.reshape(-1, rows, a.shape[-1]), delta.reshape(-1, rows, delta.shape[-1]))
    return each.unflatten(0, (len(a), -1)).sum(1)


def _gram_sums(a: Tensor, delta: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    gram_delta = torch.bmm(delta, delta.mT)
    own, together = [], []
    for matrix in (torch.bmm(a, a.mT).mul_(gram_delta), gram_delta):
        together.append(matrix.sum((1, 2), dtype=torch.float64))
        if rows == 1:
            own.append(matrix.diagonal(dim1=1, dim2=2).sum(-1, dtype=torch.float64))
        else:
            size = matrix.shape[-1] // rows
            tiles = matrix.unflatten(2, (size, rows)).unflatten(1, (size, rows))
            own.append(tiles.diagonal(dim1=1, dim2=3).sum((1, 2, 3), dtype=torch.float64))
    return torch.stack(own), torch.stack(together)


def _formed_variance(a: Tensor, delta: Tensor, replicates: int) -> Tensor:
    found = delta.new_empty(len(delta), dtype=torch.float64)
    a, delta = (value.unflatten(1, (replicates, -1)) for value in (a, delta))
    step = max(1, GROUP_ELEMENTS // (replicates * a.shape[-1] * delta.shape[-1]))
    for start in range(0, len(a), step):
        some = slice(start, start + step)
        gradients = formed(a[some].flatten(0, 1), delta[some].flatten(0, 1)).flatten(1)
        found[some] = variance_within(gradients.unflatten(0, (-1, replicates)))
    return found


def _by_replicate(delta: Tensor, replicates: int) -> Tensor:
    return delta.unflatten(1, (replicates, -1)).sum(2)


def variance_within(values: Tensor) -> Tensor:
    """The unbiased variance over s within each of Q groups, summed over the entries: [Q, s, …] to [Q] in float64."""
    away = values - values.mean(1, keepdim=True)
    return away.flatten(1).square().sum(-1, dtype=torch.float64) / (values.shape[1] - 1)
