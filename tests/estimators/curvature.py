"""Second derivatives of the problems of `tests.estimators.by_hand`, written out, and a control added to the path."""

from __future__ import annotations

import numpy as np

from tests.estimators.by_hand import Array, Estimate, Gaussian, Given, added, mean, model

CURVATURES = {
    "quadratic": lambda z, k: 2 + 0 * z,
    "exp": lambda z, k: (4 * k**2 * z**2 - 2 * k) * np.exp(-k * z**2),
    "cos": lambda z, k: -(k**2) * np.cos(k * z),
}


def slope(given: Given, z: Array) -> Array:
    """The derivative in z of f without its −log q."""
    assert isinstance(given.q, Gaussian)
    dz = given.at(z).dz
    return dz - (z - given.q.loc) / given.q.scale**2 if given.task.objective.has_log_q else dz


def hessian(given: Given) -> Array:
    """The Hessian of f without its −log q at the mean of q, [1, 1, B, D, D]."""
    assert isinstance(given.q, Gaussian)
    parameters = given.task.point.axes.parameters
    if given.task.point.problem.name == "gaussian-cost":
        return CURVATURES[parameters.cost](given.q.loc, parameters.k)[..., None] * np.eye(given.q.loc.shape[-1])
    weight = model(given.task)[0]["theta.decoder.weight"]
    found = -weight.T @ weight / parameters.noise**2 - (
        np.eye(weight.shape[1]) if given.task.objective.has_log_q else 0
    )
    return np.broadcast_to(found, (1, 1, *given.q.loc.shape[-2:], weight.shape[1]))


def with_control(given: Given, of_loc: Array, of_log_scale: Array) -> Estimate:
    """The pathwise gradient plus a control [R, L, B, D] of loc and of the log scale."""
    z = given.q.sample(given.noise)
    here = given.at(z)
    return Estimate(mean(added(given.q.path(z, here.dz), here.direct, (of_loc, of_log_scale)), z), z)
