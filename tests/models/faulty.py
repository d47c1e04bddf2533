"""Models with one fault each, and what must be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributions as td
from torch.nn import functional
from torch.nn.utils import parametrizations

from gradbench.families.bernoulli import Bernoulli
from gradbench.families.gaussian import Gaussian
from tests.models.base import HIDDEN, D, Model
from tests.models.legitimate import Attending


@dataclass(frozen=True)
class Fault:
    """A faulty model, the kind of fault, and the words that the finding must hold."""

    model: type[Model]
    kind: str
    words: str


FAULTS: list[Fault] = []


def fault(kind: str, words: str):
    def keep(model: type[Model]) -> type[Model]:
        model.name = "faulty-" + "".join("-" + c.lower() if c.isupper() else c for c in model.__name__)[1:]
        FAULTS.append(Fault(model, kind, words))
        return model

    return keep


def stack(inputs: int, middle: nn.Module, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), middle, nn.Tanh(), nn.Linear(HIDDEN, outputs))


class Doing(nn.Module):
    """A decoder or encoder around one function of rows."""

    def __init__(self, inputs: int, outputs: int, what: Any) -> None:
        super().__init__()
        self.last = nn.Linear(inputs, outputs)
        self.what = what

    def forward(self, rows: Tensor) -> Tensor:
        return self.last(self.what(rows))


# hidden randomness


@fault("hidden randomness", r"phi\.encoder\.1 \(Dropout\).*torch")
class DropsInEncoder(Model):
    def encoder(self, features):
        return stack(features, nn.Dropout(0.5), 2 * D)


@fault("hidden randomness", r"theta\.decoder\.1 \(Dropout\)")
class DropsInDecoder(Model):
    def decoder(self, features):
        return stack(D, nn.Dropout(0.5), features)


@fault("hidden randomness", r"theta\.decoder \(Doing\).*torch")
class DropsByFunction(Model):
    def decoder(self, features):
        return Doing(D, features, lambda z: functional.dropout(z, 0.5, training=True)).eval()


@fault("hidden randomness", r"phi\.encoder \(Doing\).*numpy")
class DrawsFromNumpy(Model):
    def encoder(self, features):
        return Doing(features, 2 * D, lambda x: x + float(np.random.standard_normal()))


PRIVATE = torch.Generator().manual_seed(0)


@fault("hidden randomness", r"theta\.decoder \(Doing\).*second time")
class DrawsPrivately(Model):
    def decoder(self, features):
        return Doing(D, features, lambda z: z + torch.randn(z.shape, generator=PRIVATE, dtype=z.dtype))


@fault("hidden randomness", "log_likelihood draws from torch")
class DrawsInLikelihood(Model):
    def log_likelihood(self, theta, x, z):
        return super().log_likelihood(theta, x, z + 0.1 * torch.randn_like(z))


@fault("hidden randomness", "prior draws from torch")
class DrawsInPrior(Model):
    def prior(self, theta):
        zeros = torch.randn(1, 1, 1, D, dtype=torch.float64)
        return Gaussian(loc=zeros, scale=torch.ones_like(zeros))


# what is kept between calls


class Counting(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.last, self.calls = nn.Linear(D, features), 0

    def forward(self, z):
        self.calls += 1
        return self.last(z) * self.calls


@fault("hidden randomness", r"theta\.decoder \(Counting\).*second time")
class Counts(Model):
    def decoder(self, features):
        return Counting(features)


class Caching(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.first, self.last, self.kept = nn.Linear(features, HIDDEN), nn.Linear(HIDDEN, 2 * D), None

    def forward(self, x):
        if self.kept is None:
            self.kept = self.first(x).detach()
        return self.last(self.kept)


@fault("keeps state", r"phi\.encoder \(Caching\)")
class Caches(Model):
    def encoder(self, features):
        return Caching(features)


@fault("changes itself", r"phi\.encoder\.1\..*BatchNorm1d in training mode")
class RunningStatistics(Model):
    def encoder(self, features):
        return stack(features, nn.BatchNorm1d(HIDDEN), 2 * D)


@fault("changes itself", r"theta\.decoder\.1\..*BatchNorm1d in training mode")
class RunningStatisticsInDecoder(Model):
    def decoder(self, features):
        return stack(D, nn.BatchNorm1d(HIDDEN), features)


@fault("changes itself", r"theta\.decoder\.2\.parametrizations.*_SpectralNorm in training mode")
class SpectralInTraining(Model):
    def decoder(self, features):
        last = parametrizations.spectral_norm(nn.Linear(HIDDEN, features))
        return nn.Sequential(nn.Linear(D, HIDDEN), nn.Tanh(), last)


class Renormed(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.last = nn.Linear(D, features)

    def forward(self, z):
        self.last.weight.data.div_(self.last.weight.data.norm() * 1.01)
        return self.last(z)


@fault("changes itself", r"theta\.decoder\.last\.weight")
class OverwritesItsWeight(Model):
    def decoder(self, features):
        return Renormed(features)


# inputs that are overwritten


def _shifted(rows: Tensor) -> Tensor:
    rows -= 0.5
    return rows


def _through_numpy(rows: Tensor) -> Tensor:
    rows.detach().numpy()[:] *= 0.5
    return rows


@fault("changed in place", r"phi\.encoder \(Doing\) overwrites the minibatch x")
class OverwritesTheMinibatch(Model):
    def encoder(self, features):
        return Doing(features, 2 * D, _shifted)


@fault("changed in place", r"phi\.encoder \(Doing\) overwrites the minibatch x")
class OverwritesThroughNumpy(Model):
    def encoder(self, features):
        return Doing(features, 2 * D, _through_numpy)


@fault("changed in place", r"theta\.decoder\.0 \(ELU\) overwrites the samples z")
class OverwritesTheSamples(Model):
    def decoder(self, features):
        return nn.Sequential(nn.ELU(inplace=True), nn.Linear(D, features))


@fault("changed in place", "log_likelihood overwrites the minibatch x")
class OverwritesInLikelihood(Model):
    def log_likelihood(self, theta, x, z):
        x.clamp_(0.1, 0.9)
        return super().log_likelihood(theta, x, z)


# parameters that the Calls do not see


@fault("parameters outside", r"posterior reaches phi\.encoder\.0\.weight")
class ReachesInPosterior(Model):
    def posterior(self, phi, x):
        loc, log_scale = self.phi["encoder"](x).chunk(2, dim=-1)
        return Gaussian(loc=loc, scale=log_scale.exp())


@fault("parameters outside", r"log_likelihood reaches theta\.decoder\.0\.weight")
class ReachesInLikelihood(Model):
    def log_likelihood(self, theta, x, z):
        return td.Bernoulli(logits=self.theta["decoder"](z), validate_args=False).log_prob(x).sum(-1)


@fault("parameters outside", r"prior reaches theta\.decoder\.0\.bias")
class ReachesInPrior(Model):
    def prior(self, theta):
        q = super().prior(theta)
        return Gaussian(loc=q.parameters["loc"] + self.theta["decoder"][0].bias[:D], scale=q.parameters["scale"])


@fault("parameters outside", r"log_likelihood reaches phi\.encoder\.2\.bias")
class ReachesIntoPhi(Model):
    def log_likelihood(self, theta, x, z):
        return super().log_likelihood(theta, x, z + self.phi["encoder"][2].bias[:D])


@fault("shared parameter", r"phi\.encoder\.0\.weight and theta\.decoder\.2\.weight")
class OneWeightInBoth(Model):
    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.phi["encoder"][0] = nn.Linear(HIDDEN, features)
        self.theta["decoder"][2].weight = self.phi["encoder"][0].weight


@fault("shared parameter", r"phi\.encoder\.0\.bias and theta\.decoder\.0\.bias")
class OneMemoryInBoth(Model):
    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.theta["decoder"][0].bias = nn.Parameter(self.phi["encoder"][0].bias.data[:])


@fault("no parameters", "no parameter that is differentiated")
class NothingToTrain(Model):
    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.phi.requires_grad_(False)
        self.theta.requires_grad_(False)


# rows that are mixed


@fault("mixes rows", r"theta\.decoder\.1 \(Softmax\)")
class SoftmaxOverTheBatch(Model):
    def decoder(self, features):
        return stack(D, nn.Softmax(dim=0), features)


@fault("mixes rows", r"theta\.decoder\.1 \(BatchNorm1d\)")
class BatchNormInDecoder(Model):
    def decoder(self, features):
        return stack(D, nn.BatchNorm1d(HIDDEN, affine=False, track_running_stats=False), features)


@fault("mixes rows", r"theta\.decoder \(Attending\)")
class AttendsInDecoder(Model):
    def decoder(self, features):
        return nn.Sequential(Attending(D), nn.Linear(2 * D, features))[0:1].append(nn.Linear(2 * D, features))

    def __init__(self, parameters, features, generator):
        super().__init__(parameters, features, generator)
        self.theta["decoder"] = Attending(D)
        self.theta["last"] = nn.Linear(2 * D, features)

    def log_likelihood(self, theta, x, z):
        logits = theta.call("last", theta.call("decoder", z))
        return td.Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)


@fault("mixes rows", r"theta\.decoder \(Doing\)")
class ScaledByTheNumberOfRows(Model):
    def decoder(self, features):
        return Doing(D, features, lambda z: z / len(z))


def _signs_of_the_next(z: Tensor) -> Tensor:
    """Rows in threes, each with the sign of the one before: no slope shows it, and no other number of rows."""
    return z + z.unflatten(0, (-1, 3)).sign().roll(1, 1).flatten(0, 1)


@fault("mixes rows", r"theta\.decoder \(Doing\)")
class WithoutASlope(Model):
    def decoder(self, features):
        return Doing(D, features, _signs_of_the_next)


@fault("mixes rows", "log_likelihood")
class CentredOverSamples(Model):
    def log_likelihood(self, theta, x, z):
        return super().log_likelihood(theta, x, z - z.mean(1, keepdim=True))


@fault("mixes rows", "log_likelihood")
class CentredOverDatapoints(Model):
    def log_likelihood(self, theta, x, z):
        value = super().log_likelihood(theta, x, z)
        return value - 0.5 * value.mean(2, keepdim=True)


class Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient / gradient.norm()


@fault("mixes replicates", "of one replicate alone is not what it is with others")
class ClipsGradients(Model):
    def decoder(self, features):
        return Doing(D, features, Clipped.apply)


@fault("not finite", "the gradient of phi")
class SlopeOfARoot(Model):
    def log_likelihood(self, theta, x, z):
        return super().log_likelihood(theta, x, z) + (z - z).square().sum(-1).sqrt()


# posteriors that are not what they say


@fault("posterior", "of family 'gaussian'; the class says 'bernoulli'")
class OfAnotherFamily(Model):
    family = "bernoulli"


@fault("posterior", "returns Normal")
class NoPosterior(Model):
    def posterior(self, phi, x):
        q = super().posterior(phi, x)
        return td.Normal(q.parameters["loc"], q.parameters["scale"])


class Keeping(Gaussian):
    def __init__(self, **parameters: Tensor) -> None:
        super().__init__(**parameters)
        self.shift = Keeping.given

    given: ClassVar[Any] = 0.0

    def sample(self, noise):
        return super().sample(noise) + self.shift


@fault("posterior", r"Keeping\.held\(\) leaves parameters")
class NotHeld(Model):
    def posterior(self, phi, x):
        q = super().posterior(phi, x)
        Keeping.given = q.parameters["loc"]
        return Keeping(**q.parameters)


class HalfTheSamples(Gaussian):
    def sample(self, noise):
        return super().sample(noise)[:, :1]


@fault("wrong shape", r"a sample is \[2, 1, 3, 2\], expected \[2, 2, 3")
class SamplesLost(Model):
    def posterior(self, phi, x):
        return HalfTheSamples(**super().posterior(phi, x).parameters)


class ByCoordinate(Gaussian):
    def log_prob(self, z):
        return self.distribution.log_prob(z)


@fault("wrong shape", r"log_prob is \[2, 2, 3, 2\], expected \[R, L, B\] = \[2, 2, 3\]")
class LogProbByCoordinate(Model):
    def posterior(self, phi, x):
        return ByCoordinate(**super().posterior(phi, x).parameters)


class NormalNoise(Gaussian):
    """A Laplace law that forgot its noise."""

    def _distribution(self):
        return td.Laplace(self.parameters["loc"], self.parameters["scale"], validate_args=False)


@fault("posterior", "NormalNoise does not draw from the law of its log_prob")
class AnotherLaw(Model):
    def posterior(self, phi, x):
        return NormalNoise(**super().posterior(phi, x).parameters)

    def prior(self, theta):
        return NormalNoise(**super().prior(theta).parameters)


class VarianceForScale(Gaussian):
    def sample(self, noise):
        return self.parameters["loc"] + self.parameters["scale"] ** 2 * noise


@fault("posterior", "VarianceForScale does not draw from the law of its log_prob")
class AnotherScale(Model):
    def posterior(self, phi, x):
        return VarianceForScale(**super().posterior(phi, x).parameters)


class Doubtful(Bernoulli):
    def log_prob(self, z):
        return super().log_prob(z) - 0.1


class Turned(Bernoulli):
    def sample(self, noise):
        return (noise < torch.sigmoid(-self.parameters["logits"])).to(noise.dtype)


class Bits(Model):
    family = "bernoulli"
    law: ClassVar[type[Bernoulli]] = Bernoulli

    def posterior(self, phi, x):
        return self.law(logits=3 * phi.call("encoder", x)[..., :D])

    def prior(self, theta):
        return Bernoulli(logits=next(self.theta.parameters()).new_zeros(1, 1, 1, D))


@fault("posterior", r"exp\(log_prob\) sums to 0\.90")
class NoDistribution(Bits):
    law = Doubtful


@fault("posterior", "the mean of its samples is off")
class TurnedBits(Bits):
    law = Turned


# values of another shape, or none


@fault("wrong shape", r"log_likelihood is \[2, 2, 3, 64\], expected \[R, L, B\]")
class NotSummedOverFeatures(Model):
    def log_likelihood(self, theta, x, z):
        return td.Bernoulli(logits=theta.call("decoder", z), validate_args=False).log_prob(x)


@fault("wrong shape", r"log_likelihood is \[2, 2\], expected \[R, L, B\]")
class SummedOverTheBatch(Model):
    def log_likelihood(self, theta, x, z):
        return super().log_likelihood(theta, x, z).sum(-1)


@fault("wrong shape", r"log_likelihood is \[2, 2, 1\], expected \[R, L, B\]")
class AveragedOverTheBatch(Model):
    def log_likelihood(self, theta, x, z):
        return super().log_likelihood(theta, x, z).mean(-1, keepdim=True)


@fault("wrong shape", r"decoder returns a tensor \[\d+, 1, 64\] for \d+ rows")
class RowsLost(Model):
    def decoder(self, features):
        return nn.Sequential(nn.Linear(D, features), nn.Unflatten(1, (1, features)), nn.Identity(), Paired())


class Paired(nn.Module):
    def forward(self, rows):
        return rows[::2]


@fault("wrong shape", "encoder returns str for 3 rows")
class TextInATuple(Model):
    def encoder(self, features):
        return Saying(features)


class Saying(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.last = nn.Linear(features, 2 * D)

    def forward(self, x):
        return self.last(x), "mean and scale"


@fault("not finite", "scale is NaN or infinite")
class Overflows(Model):
    def posterior(self, phi, x):
        q = super().posterior(phi, x)
        return Gaussian(loc=q.parameters["loc"], scale=(q.parameters["scale"] * 1e4).exp())


@fault("not finite", "log_likelihood is NaN or infinite")
class LogOfZero(Model):
    def log_likelihood(self, theta, x, z):
        return super().log_likelihood(theta, x, z) + (0 * z.sum(-1)).log()


@fault("raises", "dtype|Double|Float")
class OfOnePrecision(Model):
    def decoder(self, features):
        return Doing(D, features, lambda z: z.float())


@fault("raises", "KeyError.*bottleneck")
class Raises(Model):
    def posterior(self, phi, x):
        return {}["bottleneck"]
