"""Watching linear layers at work: what went in, what came out, for the gradients of single replicates.

The gradient of a linear layer's weight in replicate r is Σ_n δ_n a_nᵀ over the rows n that belong to r, with a_n the
layer's input and δ_n the gradient of the replicate's value in the layer's output. So the network runs once, plainly,
over all replicates, its layers' inputs are kept, and one ``autograd.grad`` finds every δ: no gradient is ever formed
that is not wanted. Asking for the δ of *these* outputs in *one* call is what keeps surrogates that differentiate
inside themselves apart: their inner passes are seen by nobody.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from gradbench.engine.layers.chain import Chain, steps, unaltered
from gradbench.engine.layers.likelihoods import Known
from gradbench.engine.layers.trust import NeedsGeneralPathError, check_uses, is_plain_stack, mixes_rows
from gradbench.problems.base import Problem
from gradbench.problems.networks import Calls, Form, leading, trainable


@dataclass
class Site:
    """One call of one linear layer: input [rows, …, in] and the edge of the graph at its output."""

    layer: str
    inputs: Tensor
    version: int
    edge: GradientEdge
    features: int
    lead: tuple[int, ...]


@dataclass
class Shared:
    """A call whose inputs are the same in every replicate: run once, handed out as R copies."""

    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    copies: Tensor
    lead: tuple[int, ...]
    sites: list[Site]
    chain: Chain | None
    form: Form
    single: Tensor | None = None
    """One copy for all replicates, where a term that is the same in all of them asked for it."""


@dataclass
class Term:
    """What was made of samples z by one function, such as a likelihood; or known before, and then by no call."""

    x: Tensor
    z: Tensor
    values: Tensor
    edge: GradientEdge
    layers: frozenset[str] = frozenset()
    """Those that made it; none where anything else had a part in it, too."""
    calls: int = 0
    """Of these layers."""
    known: Known | None = None
    upstream: Tensor | None = None
    """The gradient in the values, once it is found."""


@dataclass
class Linear:
    """All calls of one layer, with a [R or 1, L, B, in] and δ [R, L, B, out]."""

    name: str
    inputs: Tensor
    delta: Tensor

    @property
    def shared(self) -> bool:
        """Whether the input is the same in every replicate."""
        return self.inputs.shape[0] == 1 and self.delta.shape[0] > 1


@dataclass
class Explicit:
    """A free parameter, with its gradient by replicate and datapoint, [R, B or 1, *shape]; one number is [1]."""

    name: str
    gradient: Tensor


class RecordingCalls(Calls):
    """Calls that run modules plainly and record their linear layers."""

    def __init__(self, module: nn.Module, prefix: str, replicates: int, batch: int = 1, *, strict: bool = True) -> None:
        """``batch`` > 1 hands out free parameters once per datapoint, too, so that datapoints can be told apart.

        Not ``strict``: modules that are not made of linear layers are called all the same, and not recorded.
        """
        super().__init__(module)
        self.prefix, self.replicates, self.batch, self.strict = prefix, replicates, batch, strict
        self.doubts: list[Tensor] | None = None
        """Where it is put whether modules mix rows that may; None: that is looked at."""
        self.sites: list[Site] = []
        self.shared: list[Shared] = []
        self.leaves: dict[str, Tensor] = {}
        self.single_leaves: dict[str, Tensor] = {}
        self.find: Callable[[Tensor, Tensor], Known | None] | None = None
        """Who knows what was made of data and samples before; None: nobody, and no term is noted."""
        self.terms: list[Term] = []
        self.others = 0
        """How often anything else was asked for than a call on what differs between replicates."""

    def of(self, function: Callable[[Calls, Tensor, Tensor], Tensor], x: Tensor, z: Tensor) -> Tensor:
        if self.find is None:
            return super().of(function, x, z)
        known = None if z.requires_grad else self.find(x, z)
        if known is not None:
            values = known.values.detach().requires_grad_()
            self.terms.append(Term(x, z, values, get_gradient_edge(values), known=known))
            return values
        before, others = len(self.sites), self.others
        values = super().of(function, x, z)
        if values.requires_grad:
            layers = [site.layer for site in self.sites[before:]] if self.others == others else []
            edge = get_gradient_edge(values)
            self.terms.append(Term(x, z.detach(), values.detach(), edge, frozenset(layers), len(layers)))
        return values

    @property
    def layers(self) -> set[str]:
        """The layers that were called."""
        return {site.layer for site in self.sites}

    def _call(self, name: str, inputs: tuple[Tensor, ...], form: Form) -> Tensor:
        if all(value.shape[0] == 1 and not value.requires_grad for value in inputs):
            return self._share(name, inputs, form)
        output = self._run(name, inputs, self.sites, form)
        if self.strict and output.shape[0] != self.replicates:
            raise NeedsGeneralPathError(f"{name} is called once for several replicates, on what depends on them")
        module = self.module.get_submodule(name)
        if self.strict and self.replicates > 1 and not is_plain_stack(module):
            lead = leading(inputs)
            rows = tuple(value.expand(*lead, *value.shape[3:]).flatten(0, 2) for value in inputs)
            mixed = mixes_rows(
                lambda *batch: Form(name).join(module(*batch), len(batch[0])),
                rows,
                output.flatten(0, 2),
                lead[1] * lead[2],
            )
            if self.doubts is not None:
                self.doubts.append(mixed)
            elif bool(mixed):
                raise NeedsGeneralPathError(f"{self.prefix}{name} mixes the rows of a batch")
        return output

    def free(self, name: str) -> Tensor:
        self.others += 1
        if name not in self.leaves:
            value = super().free(name).detach()
            self.leaves[name] = value.expand(self.replicates, 1, self.batch, *value.shape[3:]).requires_grad_()
        return self.leaves[name]

    def once(self) -> Calls:
        return _OnceCalls(self)

    def _share(self, name: str, inputs: tuple[Tensor, ...], form: Form) -> Tensor:
        self.others += 1
        lead = leading(inputs)
        stack = steps(self.module.get_submodule(name), self.prefix + name) if len(inputs) == 1 else None
        sites: list[Site] = []
        if stack is not None and inputs[0].dim() == 4:
            chain = Chain(stack, inputs[0].flatten(0, 2))
            output = chain.output.unflatten(0, lead)
        else:
            chain = None
            output = self._run(name, inputs, sites, form)
        copies = output.detach().expand(self.replicates, *output.shape[1:]).requires_grad_()
        self.shared.append(Shared(name, inputs, output, copies, lead, sites, chain, form))
        return copies

    def _run(self, name: str, inputs: tuple[Tensor, ...], sites: list[Site], form: Form) -> Tensor:
        lead = leading(inputs)
        handles = []
        for path, layer in linear_layers(self.module, name, strict=self.strict).items():
            handles.append(layer.register_forward_hook(self._recorder(self.prefix + path, lead, sites)))
        try:
            return super()._call(name, inputs, form)
        finally:
            for handle in handles:
                handle.remove()

    def _recorder(self, layer: str, lead: tuple[int, ...], sites: list[Site]):
        def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            (value,) = args
            if value.shape[0] != math.prod(lead):
                raise NeedsGeneralPathError(f"{layer} is not called on rows [N, …]")
            if output.requires_grad:
                edge = get_gradient_edge(output)
                sites.append(Site(layer, value.detach(), value._version, edge, output.shape[-1], lead))

        return record


class _OnceCalls(Calls):
    """Recorded calls for what is the same in every replicate: what is handed out has one copy for all of them."""

    def __init__(self, owner: RecordingCalls) -> None:
        super().__init__(owner.module)
        self.owner = owner

    def call(self, name: str, *inputs: Tensor) -> Any:
        handed_out = self.owner.shared
        again = [one for one in handed_out if one.name == name and all(map(operator.is_, one.inputs, inputs))]
        if not again:
            form = Form(name)
            output, again = self.owner._call(name, inputs, form), handed_out[-1:]
            if not again or output is not again[0].copies:
                return form.split(output)
        self.owner.others += 1
        if again[0].single is None:
            again[0].single = again[0].output.detach().requires_grad_()
        return again[0].form.split(again[0].single)

    def free(self, name: str) -> Tensor:
        leaves, self.owner.others = self.owner.single_leaves, self.owner.others + 1
        if name not in leaves:
            leaves[name] = self.owner.free(name).detach()[:1].requires_grad_()
        return leaves[name]


def linear_layers(module: nn.Module, name: str, *, strict: bool = True) -> dict[str, nn.Linear]:
    """The linear layers of submodule ``name`` by path. Raises NeedsGeneralPathError where it holds anything else."""
    called = module.get_submodule(name)
    layers: dict[str, nn.Linear] = {}
    for path, child in called.named_modules():
        where = ".".join(part for part in (name, path) if part)
        if type(child) is nn.Linear and unaltered(child):
            layers[where] = child
        elif strict and any(value.requires_grad for value in child.parameters(recurse=False)):
            raise NeedsGeneralPathError(f"{where} ({type(child).__name__}) has parameters and is no plain nn.Linear")
    return layers


def check_ties(problem: Problem) -> None:
    """Raise NeedsGeneralPathError where parameters are tied: a gradient of one would be that of several layers."""
    seen: dict[int, str] = {}
    for prefix, module in (("phi.", problem.phi), ("theta.", problem.theta)):
        for name, value in module.named_parameters(remove_duplicate=False):
            if not value.requires_grad:
                continue
            if id(value) in seen:
                raise NeedsGeneralPathError(f"{prefix}{name} is the same parameter as {seen[id(value)]}")
            seen[id(value)] = prefix + name


def deltas(
    total: Tensor, calls: tuple[RecordingCalls, ...], *, check: bool = False
) -> tuple[list[Linear], list[Explicit]]:
    """Every layer and free parameter of ``calls``, with the gradients of ``total`` (the sum of the values).

    ``check``: raise NeedsGeneralPathError where parameters have a part in ``total`` that was not recorded.
    """
    sites = [site for group in calls for site in group.sites]
    shared = [(group, one) for group in calls for one in group.shared]
    free = [(group, name) for group in calls for name in group.leaves]
    wanted: list[Any] = [site.edge for site in sites]
    wanted += [one.copies for _, one in shared] + [group.leaves[name] for group, name in free]
    single = [one.single for _, one in shared] + [group.single_leaves.get(name) for group, name in free]
    if not total.requires_grad or not wanted:
        return [], []
    if check:
        names = {id(value): group.prefix + name for group in calls for name, value in trainable(group.module).items()}
        check_uses(total, [site.edge.node for site in sites], names)
        for _, one in shared:
            if one.chain is None and one.output.requires_grad:
                check_uses(one.output, [site.edge.node for site in one.sites], names)
    terms = [one for group in calls for one in group.terms]
    asked = wanted + [value for value in single if value is not None] + [one.edge for one in terms]
    found = list(torch.autograd.grad(total, asked, allow_unused=True))
    rest = iter(found[len(wanted) :])
    alike = [None if value is None else next(rest) for value in single]
    for one, upstream in zip(terms, rest, strict=True):
        one.upstream = upstream
    handed_out = zip((group for group, _ in shared + free), found[len(sites) : len(wanted)], alike, strict=True)
    weights = [_each(one, all_, group.replicates) for group, one, all_ in handed_out]
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for site, delta in zip(sites, found, strict=False):
        if delta is not None:
            parts.setdefault(site.layer, []).append((_rows(site, site.inputs), _rows(site, delta)))
    for (_, one), weight in zip(shared, weights, strict=False):
        if weight is None:
            continue
        if one.chain is not None:
            for name, a, delta in one.chain.pull(weight.flatten(1, 2)):
                parts.setdefault(name, []).append((a.unflatten(0, one.lead), delta.unflatten(1, one.lead[1:])))
            continue
        if not one.sites:
            continue
        edges: Sequence[Any] = [site.edge for site in one.sites]
        try:
            back = torch.autograd.grad(one.output, edges, weight.unsqueeze(1), is_grads_batched=True, allow_unused=True)
        except (RuntimeError, NotImplementedError) as error:
            raise NeedsGeneralPathError(f"{one.name} has no batching rule on its way back") from error
        for site, delta in zip(one.sites, back, strict=True):
            if delta is not None:
                parts.setdefault(site.layer, []).append((_rows(site, site.inputs), _rows(site, delta)))
    explicit = [
        Explicit(group.prefix + name, _shaped(gradient.squeeze(1)))
        for (group, name), gradient in zip(free, weights[len(shared) :], strict=True)
        if gradient is not None
    ]
    linear = [_joined(name, calls_) for name, calls_ in parts.items()]
    return _without_frozen(linear, explicit, calls)


def _shaped(gradient: Tensor) -> Tensor:
    """[R, B or 1, *shape] with at least one axis behind the first two."""
    return gradient if gradient.ndim > 2 else gradient[..., None]


def _without_frozen(
    linear: list[Linear], explicit: list[Explicit], calls: tuple[RecordingCalls, ...]
) -> tuple[list[Linear], list[Explicit]]:
    """What is differentiated alone: of a layer whose weight is frozen the bias is left, as a free parameter."""
    live = {group.prefix + name for group in calls for name in trainable(group.module)}
    biases = [
        Explicit(f"{one.name}.bias", one.delta.sum(1))
        for one in linear
        if f"{one.name}.weight" not in live and f"{one.name}.bias" in live
    ]
    linear = [one for one in linear if f"{one.name}.weight" in live]
    explicit = [one for one in explicit if one.name in live]
    if twice := {one.name for one in explicit} & {one.name for one in biases}:
        raise NeedsGeneralPathError(f"{min(twice)} is used both in its layer and as a free parameter")
    return linear, explicit + biases


def _each(own: Tensor | None, together: Tensor | None, replicates: int) -> Tensor | None:
    """Every replicate's gradient from its own and its share of the gradient that all have in common."""
    if together is None:
        return own
    share = together / replicates
    return share.expand(replicates, *share.shape[1:]) if own is None else own + share


def sensitivities(total: Tensor, calls: RecordingCalls) -> dict[str, Tensor]:
    """Each replicate's gradient where ``calls`` handed something out, [R, numbers]: φ as the problem sees it.

    Everything that a module's parameters do goes through what it hands out, so that two gradients can be compared
    here at the price of none of them. Without what is the same in all replicates. A layer that is called twice on the
    same counts once: how often a surrogate asks for the same distribution says nothing of its gradient.
    """
    names: list[str] = [*calls.leaves, *(f"call {index}" for index in range(len(calls.shared)))]
    wanted: list[Any] = [*calls.leaves.values(), *(one.copies for one in calls.shared)]
    inputs: dict[str, list[Tensor]] = {}
    for site in calls.sites:
        known = inputs.setdefault(site.layer, [])
        at = next((index for index, one in enumerate(known) if torch.equal(one, site.inputs)), len(known))
        known += [site.inputs] if at == len(known) else []
        names.append(f"{site.layer} at {at}")
        wanted.append(site.edge)
    if not total.requires_grad or not wanted:
        return {}
    found: dict[str, Tensor] = {}
    for name, value in zip(names, torch.autograd.grad(total, wanted, allow_unused=True), strict=True):
        if value is not None:
            value = value.reshape(calls.replicates, -1)
            found[name] = value if name not in found else found[name] + value
    return found


def _rows(site: Site, value: Tensor) -> Tensor:
    """[R, L, B, features] from the rows that a layer saw; further axes of a row count as samples."""
    if value is site.inputs and value._version != site.version:
        raise NeedsGeneralPathError(f"the input of {site.layer} was overwritten")
    copies = value.numel() // (site.inputs.shape[:-1].numel() * value.shape[-1])  # R where the input is shared, else 1
    value = value.reshape(copies * site.lead[0], *site.lead[1:], -1, value.shape[-1])
    if value.shape[3] == 1:
        return value.squeeze(3)
    return value.transpose(2, 3).flatten(1, 2)


def _joined(name: str, calls: list[tuple[Tensor, Tensor]]) -> Linear:
    if len(calls) == 1:
        return Linear(name, *calls[0])
    if len({delta.shape[2] for _, delta in calls}) > 1:
        # calls that see datapoints apart and calls that do not: rows of one kind, without telling datapoints apart
        calls = [(a.flatten(1, 2).unsqueeze(2), delta.flatten(1, 2).unsqueeze(2)) for a, delta in calls]
    replicates = max(delta.shape[0] for _, delta in calls)
    if any(a.shape[0] != 1 for a, _ in calls):
        calls = [(a.expand(replicates, *a.shape[1:]), delta) for a, delta in calls]
    return Linear(name, torch.cat([a for a, _ in calls], 1), torch.cat([delta for _, delta in calls], 1))
