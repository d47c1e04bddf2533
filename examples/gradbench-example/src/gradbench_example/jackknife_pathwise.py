"""The pathwise estimator of the jackknifed importance-weighted bound.

Estimates: ∇E[J_L] along the path of all L samples.
Surrogate: J_L(z_1, …, z_L), everything differentiated.
Held constant: nothing.
Unbiased for: φ and θ, of the objective "jackknife" with L samples.
Needs: latents with a differentiable sampling path; L ≥ 2.
Cost: 1 evaluation per sample.
Paper: Nowozin 2018 (ICLR).
"""

import gradbench as gb


def surrogate(objective, q, noise):
    z = gb.live(q.sample(noise), "z")
    f = gb.live(objective.f(z, gb.live(q, "q in f")), "f")
    return objective.reduce(f).mean(-1)


def needs(setting):
    return "leaving one out needs samples >= 2" if setting.samples < 2 else None


ESTIMATOR = gb.Estimator(
    name="jackknife-pathwise",
    title="example: jackknifed bound, pathwise",
    surrogate=surrogate,
    ledger=(
        gb.differentiated("z", "phi", "z = g(φ, ε) depends on φ, and the distribution of ε does not"),
        gb.differentiated("q in f", "phi", "the total derivative: -log q depends on φ directly, too"),
        gb.differentiated("f", "phi and theta", "nothing is held: the gradient moves inside the expectation over ε"),
    ),
    uses=frozenset({"reparameterised"}),
    unbiased=gb.unbiased("jackknife"),
    needs=needs,
    scored=False,
    paper="Nowozin 2018",
)
