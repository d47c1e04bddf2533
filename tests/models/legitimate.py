"""Models that keep the contract, each special in one way; every one must be measured, and rightly."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributions as td
from torch.nn import functional
from torch.nn.utils import parametrizations, weight_norm

from gradbench.families.bernoulli import Bernoulli
from gradbench.families.gaussian import Gaussian
from gradbench.problems.base import Free
from tests.models.base import HIDDEN, D, Model

GENERAL, LOOP = frozenset({"general"}), frozenset[str]()


class Two(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, HIDDEN)
        self.loc, self.log_scale = nn.Linear(HIDDEN, D), nn.Linear(HIDDEN, D)

    def forward(self, x: Tensor) -> Any:
        h = torch.tanh(self.hidden(x))
        return self.loc(h), self.log_scale(h)


class TupleOut(Model):
    """An encoder that returns (loc, log scale), as most do."""

    name = "tuple-out"

    def encoder(self, features):
        return Two(features)

    def posterior(self, phi, x):
        loc, log_scale = phi.call("encoder", x)
        return Gaussian(loc=loc, scale=log_scale.exp())

    def plain_q(self, x):
        return self.phi["encoder"](x)


class Heads(NamedTuple):
    loc: Tensor
    more: dict[str, Tensor]


class NamedTwo(Two):
    def forward(self, x):
        loc, log_scale = super().forward(x)
        return Heads(loc, {"log_scale": log_scale, "norm": loc.square().sum(-1)})


class NamedOut(TupleOut):
    """A named tuple with a dict in it, one tensor of which has no axis of features."""

    name = "named-out"

    def encoder(self, features):
        return NamedTwo(features)

    def posterior(self, phi, x):
        found = phi.call("encoder", x)
        return Gaussian(loc=found.loc, scale=(found.more["log_scale"] - 0.1 * found.more["norm"][..., None]).exp())

    def plain_q(self, x):
        found = self.phi["encoder"](x)
        return found.loc, found.more["log_scale"] - 0.1 * found.more["norm"][..., None]


class Pair(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.hidden, self.left = nn.Linear(D, HIDDEN), nn.Linear(HIDDEN, features)
        self.right = nn.Linear(D, features)

    def forward(self, z):
        return [self.left(self.hidden(z).tanh()), self.right(z)]


class TupleFromSamples(Model):
    """A decoder that returns a list."""

    name = "tuple-from-samples"

    def decoder(self, features):
        return Pair(features)

    def log_likelihood(self, theta, x, z):
        left, right = theta.call("decoder", z)
        return td.Bernoulli(logits=left + right, validate_args=False).log_prob(x).sum(-1)

    def plain_logits(self, z):
        left, right = self.theta["decoder"](z)
        return left + right


class FrozenWeight(Model):
    """A first layer whose weight is frozen and whose bias is not."""

    name = "frozen-weight"

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.phi["encoder"][0].weight.requires_grad_(False)
        self.theta["decoder"][2].weight.requires_grad_(False)


class FrozenBias(Model):
    name = "frozen-bias"

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.phi["encoder"][0].bias.requires_grad_(False)
        self.theta["decoder"][0].bias.requires_grad_(False)


class FrozenTheta(Model):
    """A pretrained decoder."""

    name = "frozen-theta"

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.theta.requires_grad_(False)


class FrozenPhi(Model):
    name = "frozen-phi"

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.phi.requires_grad_(False)


class FrozenShared(Model):
    """One frozen layer in φ and in θ: a constant in both."""

    name = "frozen-shared"

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        shared = nn.Linear(2 * D, 2 * D).requires_grad_(False)
        self.phi["encoder"].append(shared)
        self.theta["unused"] = shared


class Mixture:
    """Known by its log_prob alone."""

    def __init__(self, loc: Tensor) -> None:
        self.loc = loc  # [R, 1, 1, K, D]

    def log_prob(self, z: Tensor) -> Tensor:
        each = td.Normal(self.loc, 1.0, validate_args=False).log_prob(z.unsqueeze(3)).sum(-1)
        return each.logsumexp(-1) - float(torch.tensor(self.loc.shape[3]).log())


class MixturePrior(Model):
    """A prior without a KL (VampPrior)."""

    name = "mixture-prior"
    measured_kls = ("monte-carlo",)

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.theta.register_parameter("centres", nn.Parameter(torch.randn(3, D)))

    def prior(self, theta):
        return Mixture(theta.free("centres"))

    def plain_prior(self, z):
        each = td.Normal(self.theta.centres, 1.0).log_prob(z.unsqueeze(-2)).sum(-1)
        return each.logsumexp(-1) - torch.tensor(3.0).log()


class SqueezedPrior(MixturePrior):
    """The same, with the axes of the free parameter arranged by hand: they leave no room for one of datapoints."""

    name = "squeezed-prior"
    apart = False

    def prior(self, theta):
        return Mixture(theta.free("centres").squeeze(1).unsqueeze(1))

    def log_likelihood(self, theta, x, z):
        centres = theta.free("centres").squeeze(2)[:, :, None]
        return super().log_likelihood(theta, x, z) + 0.0 * centres.sum((-2, -1))

    def plain_terms(self, x, noise, kl):
        return super().plain_terms(x, noise, kl) + 0.0 * self.theta.centres.sum()


class Normalised(Model):
    """Layers that treat rows one by one without parameters."""

    name = "normalised"

    def encoder(self, features):
        norm = nn.LayerNorm(HIDDEN, elementwise_affine=False)
        return nn.Sequential(nn.Linear(features, HIDDEN), norm, nn.Tanh(), nn.Linear(HIDDEN, 2 * D))

    def decoder(self, features):
        group = nn.GroupNorm(2, 6, affine=False)
        return nn.Sequential(nn.Linear(D, 6), group, nn.Tanh(), nn.Linear(6, features))


class AffineNormalised(Model):
    name = "affine-normalised"
    paths = GENERAL

    def encoder(self, features):
        return nn.Sequential(nn.Linear(features, HIDDEN), nn.LayerNorm(HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * D))

    def decoder(self, features):
        return nn.Sequential(nn.Linear(D, 6), nn.GroupNorm(2, 6), nn.Tanh(), nn.Linear(6, features))


class WeightNormed(Model):
    name = "weight-normed"
    paths = GENERAL

    def decoder(self, features):
        return nn.Sequential(nn.Linear(D, HIDDEN), nn.Tanh(), parametrizations.weight_norm(nn.Linear(HIDDEN, features)))


class HookNormed(Model):
    """Weight normalisation of old, made in a hook of a layer that is an nn.Linear by its class."""

    name = "hook-normed"
    paths = GENERAL

    def decoder(self, features):
        return nn.Sequential(nn.Linear(D, HIDDEN), nn.Tanh(), weight_norm(nn.Linear(HIDDEN, features)))


class Hooked(Model):
    """Layers whose outputs a hook scales."""

    name = "hooked"
    paths = GENERAL

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        for layer in (self.phi["encoder"][2], self.theta["decoder"][2]):
            layer.register_forward_hook(_thrice)


def _thrice(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return 3 * output


class Spectral(Model):
    """Spectral normalisation, in evaluation mode."""

    name = "spectral"
    paths = GENERAL

    def decoder(self, features):
        last = parametrizations.spectral_norm(nn.Linear(HIDDEN, features))
        return nn.Sequential(nn.Linear(D, HIDDEN), nn.Tanh(), last).eval()


class Quiet(Model):
    """Dropout and BatchNorm in evaluation mode."""

    name = "quiet"
    paths = GENERAL

    def encoder(self, features):
        norm = nn.BatchNorm1d(HIDDEN)
        return nn.Sequential(nn.Linear(features, HIDDEN), nn.Dropout(0.5), norm, nn.Tanh(), nn.Linear(HIDDEN, 4)).eval()

    def decoder(self, features):
        norm = nn.BatchNorm1d(HIDDEN)
        return nn.Sequential(nn.Linear(D, HIDDEN), norm, nn.Tanh(), nn.Linear(HIDDEN, features)).eval()


class InPlace(Model):
    """Activations that overwrite what only they read."""

    name = "in-place"

    def encoder(self, features):
        return nn.Sequential(nn.Linear(features, HIDDEN), nn.ELU(inplace=True), nn.Linear(HIDDEN, 2 * D))

    def decoder(self, features):
        return nn.Sequential(nn.Linear(D, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, features))


class Buffered(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.places = nn.Embedding(3, HIDDEN)
        self.register_buffer("order", torch.arange(3))
        self.first, self.last = nn.Linear(D, HIDDEN), nn.Linear(HIDDEN, features)

    def forward(self, z):
        return self.last(torch.tanh(self.first(z)[:, None] + self.places(self.order)).sum(1))


class Embedded(Model):
    name = "embedded"
    paths = GENERAL

    def decoder(self, features):
        return Buffered(features)


class Tied(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(D, D), nn.Linear(D, D)
        self.second.weight = self.first.weight
        self.last = nn.Linear(D, features)

    def forward(self, z):
        return self.last(self.second(self.first(z).tanh()).tanh())


class TiedInTheta(Model):
    name = "tied-in-theta"
    paths = GENERAL

    def decoder(self, features):
        return Tied(features)


class TiedAcrossCalls(Model):
    """Two modules of θ, each called by itself, with one weight."""

    name = "tied-across-calls"
    paths = GENERAL

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.theta["again"] = nn.Linear(D, HIDDEN)
        self.theta["again"].weight = self.theta["decoder"][0].weight

    def log_likelihood(self, theta, x, z):
        return super().log_likelihood(theta, x, z) + theta.call("again", z).tanh().sum(-1)

    def plain_terms(self, x, noise, kl):
        loc, log_scale = self.plain_q(x)
        z = loc + log_scale.exp() * noise
        return super().plain_terms(x, noise, kl) + self.theta["again"](z).tanh().sum(-1).mean(0)


class Standardised(Model):
    """An encoder that mixes the rows of the minibatch: BatchNorm without parameters or running statistics."""

    name = "standardised"
    apart = False

    def encoder(self, features):
        norm = nn.BatchNorm1d(HIDDEN, affine=False, track_running_stats=False)
        return nn.Sequential(nn.Linear(features, HIDDEN), norm, nn.Tanh(), nn.Linear(HIDDEN, 2 * D))


class Attending(nn.Module):
    """Each row looks at those before it in the minibatch, or at those after it."""

    def __init__(self, features: int, *, ahead: bool = False) -> None:
        super().__init__()
        self.ahead = ahead
        self.inner, self.last = nn.Linear(features, HIDDEN), nn.Linear(HIDDEN, 2 * D)

    def forward(self, x):
        h = self.inner(x).tanh()
        others = torch.ones(len(h), len(h), dtype=torch.bool, device=h.device)
        unseen = others.tril(-1) if self.ahead else others.triu(1)
        return self.last((h @ h.mT).masked_fill(unseen, -torch.inf).softmax(-1) @ h)


class AttendsOverTheBatch(Model):
    name = "attends-over-the-batch"
    apart = False

    def encoder(self, features):
        return Attending(features)


class AttendsAhead(AttendsOverTheBatch):
    name = "attends-ahead"

    def encoder(self, features):
        return Attending(features, ahead=True)


class CentredByHand(Model):
    """The posterior itself mixes datapoints; no module does."""

    name = "centred-by-hand"
    apart = False

    def posterior(self, phi, x):
        q = super().posterior(phi, x)
        loc = q.parameters["loc"]
        return Gaussian(loc=loc - loc.mean(2, keepdim=True), scale=q.parameters["scale"])

    def plain_q(self, x):
        loc, log_scale = super().plain_q(x)
        return loc - loc.mean(0), log_scale


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.GRU(D, 4, batch_first=True), nn.Linear(4, 8)

    def forward(self, z):
        return self.last(self.inner(z[:, None].expand(-1, 8, -1).contiguous())[0]).flatten(1)


class RecurrentDecoder(Model):
    """A module without a batching rule."""

    name = "recurrent-decoder"
    paths = LOOP

    def decoder(self, features):
        return Recurrent()


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return torch.round(value * 4) / 4

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Rounding(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(inputs, HIDDEN), nn.Linear(HIDDEN, outputs)

    def forward(self, value):
        return self.last(Rounded.apply(torch.tanh(self.first(value))))


class CustomBackward(Model):
    """An autograd function of the user's own, which torch.func has no rule for."""

    name = "custom-backward"
    paths = frozenset({"layers"})

    def decoder(self, features):
        return Rounding(D, features)


class CustomInEncoder(Model):
    name = "custom-in-encoder"

    def encoder(self, features):
        return Rounding(features, 2 * D)


class Careful(torch.autograd.Function):
    """Its way back looks at the gradient, which cannot be done for many gradients at once."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient if bool(gradient.isfinite().all()) else torch.zeros_like(gradient)


class CarefulEncoder(Model):
    name = "careful-encoder"
    paths = GENERAL

    def encoder(self, features):
        return nn.Sequential(Stage(features, HIDDEN, Careful.apply), nn.Tanh(), nn.Linear(HIDDEN, 2 * D))


class Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, after: Any) -> None:
        super().__init__()
        self.layer, self.after = nn.Linear(inputs, outputs), after

    def forward(self, value):
        return self.after(self.layer(value))


class Deciding(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, D))

    def forward(self, z):
        return torch.stack(
            [functional.linear(row, self.weight) if row[0] > 0 else -row.sum() * self.weight.sum(1) for row in z]
        )


class DecidingDecoder(Model):
    """Control flow that depends on the samples."""

    name = "deciding-decoder"
    paths = LOOP

    def decoder(self, features):
        return Deciding(features)


class Slices(Model):
    """All parameters are slices of one buffer; no two of them overlap."""

    name = "slices"

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        own = [*self.phi.parameters(), *self.theta.parameters()]
        flat, start = torch.cat([value.detach().flatten() for value in own]), 0
        for value in own:
            value.data = flat[start : start + value.numel()].view_as(value)
            start += value.numel()


class Laplace(Gaussian):
    """Another law, in the shortest way to write it."""

    def _distribution(self):
        return td.Laplace(self.parameters["loc"], self.parameters["scale"], validate_args=False)

    def noise(self, replicates, samples, generator):
        u = torch.rand(self._shape(replicates, samples), generator=generator, **self._like()) - 0.5
        return -u.sign() * torch.log1p(-2 * u.abs())


class LaplacePosterior(Model):
    name = "laplace-posterior"

    def posterior(self, phi, x):
        q = super().posterior(phi, x)
        return Laplace(**q.parameters)

    def prior(self, theta):
        return Laplace(**super().prior(theta).parameters)

    def plain_law(self, loc, scale):
        return td.Laplace(loc, scale)

    def plain_prior(self, z):
        return td.Laplace(0.0, 1.0).log_prob(z).sum(-1)

    def plain_kl(self, loc, scale):
        return td.kl_divergence(td.Laplace(loc, scale), td.Laplace(0.0, 1.0)).sum(-1)


class CorrelatedGaussian(Gaussian):
    """A posterior whose coordinates go together: z = loc + scale (ε + ½ ε of the next coordinate)."""

    def log_prob(self, z):
        away = (z - self.parameters["loc"]) / self.parameters["scale"]
        first = away[..., 0] - 0.5 * away[..., 1]
        noise = torch.stack([first, away[..., 1]], -1)
        return (td.Normal(0.0, 1.0).log_prob(noise) - self.parameters["scale"].log()).sum(-1)

    def sample(self, noise):
        mixed = torch.stack([noise[..., 0] + 0.5 * noise[..., 1], noise[..., 1]], -1)
        return self.parameters["loc"] + self.parameters["scale"] * mixed

    def kl(self, prior):
        raise NotImplementedError


class Correlated(Model):
    name = "correlated"
    measured_kls = ("monte-carlo",)

    def posterior(self, phi, x):
        return CorrelatedGaussian(**super().posterior(phi, x).parameters)

    def plain_terms(self, x, noise, kl):
        loc, log_scale = self.plain_q(x)
        q = CorrelatedGaussian(loc=loc[None, None], scale=log_scale.exp()[None, None])
        z = q.sample(noise[None])
        logits = self.plain_logits(z.flatten(0, 2)).reshape(*z.shape[:3], -1)
        f = td.Bernoulli(logits=logits).log_prob(x).sum(-1) + self.plain_prior(z) - q.log_prob(z)
        return f.mean((0, 1))


class CommonLatents(Model):
    """Latents that the minibatch has in common: a posterior over weights."""

    name = "common-latents"
    apart = False
    independent_datapoints = False

    def __init__(self, parameters, features, generator):
        self.phi = Free(loc=torch.randn(D), log_scale=torch.zeros(D))
        self.theta = nn.ModuleDict({"decoder": self.decoder(features)})

    def posterior(self, phi, x):
        return Gaussian(loc=phi.free("loc"), scale=phi.free("log_scale").exp())

    def plain_q(self, x):
        return self.phi.loc[None], self.phi.log_scale[None]


class Scalars(Model):
    """Parameters that are one number: of q and of the model."""

    name = "scalars"

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.phi.register_parameter("log_width", nn.Parameter(torch.tensor(-0.3)))
        self.theta.register_parameter("shift", nn.Parameter(torch.tensor(0.4)))

    def posterior(self, phi, x):
        q = super().posterior(phi, x)
        return Gaussian(loc=q.parameters["loc"], scale=q.parameters["scale"] * phi.free("log_width").exp()[..., None])

    def log_likelihood(self, theta, x, z):
        logits = theta.call("decoder", z) + theta.free("shift")[..., None]
        return td.Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)

    def plain_q(self, x):
        loc, log_scale = super().plain_q(x)
        return loc, log_scale + self.phi.log_width

    def plain_logits(self, z):
        return super().plain_logits(z) + self.theta.shift


class Own(Bernoulli):
    """Bits by a law of their own, as far as anybody can tell."""


class OwnBits(Model):
    """A subclass of Bernoulli: the estimators that rest on its law are not trusted with it."""

    name = "own-bits"
    family = "bernoulli"

    def posterior(self, phi, x):
        return Own(logits=phi.call("encoder", x)[..., :D])

    def prior(self, theta):
        return Bernoulli(logits=next(self.theta.parameters()).new_zeros(1, 1, 1, D))


LEGITIMATE: tuple[type[Model], ...] = (
    Model, TupleOut, NamedOut, TupleFromSamples, FrozenWeight, FrozenBias, FrozenTheta, FrozenPhi, FrozenShared,
    MixturePrior, SqueezedPrior, Normalised, AffineNormalised, WeightNormed, HookNormed, Hooked, Spectral, Quiet,
    InPlace, Embedded, TiedInTheta, TiedAcrossCalls, Standardised, AttendsOverTheBatch, AttendsAhead,
    CentredByHand, RecurrentDecoder, CommonLatents, CustomBackward, CustomInEncoder, CarefulEncoder, DecidingDecoder,
    Slices, LaplacePosterior, Scalars,
    Correlated,
)  # fmt: skip
