"""How much is measured of each cell: the ``[measure]`` table of a suite."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from gradbench.core.strict import StrictModel
from gradbench.engine.options import Engine, NoiseSource, Options, Variance, parse_bytes
from gradbench.statistics import MARGIN
from gradbench.suite.limits import LARGEST_INTEGER

MOST_BLOCKS = 1024
"""Blocks of a cell, at most."""

MOST_REPLICATES = 10**12
"""Of a cell: more would take years."""


class Measure(StrictModel):
    """How much is measured of each cell."""

    replicates: Annotated[int, Field(gt=0, le=MOST_REPLICATES)] = 1024
    """Independent draws of each gradient estimate; a multiple of ``blocks``."""
    blocks: Annotated[int, Field(ge=4, le=MOST_BLOCKS)] = 32
    """Independent blocks that they come in; errors are computed between blocks."""
    margin: Annotated[float, Field(gt=0, lt=1)] = MARGIN
    """A relative bias certainly below it counts as none."""
    engine: Engine = "auto"
    """How replicates are told apart: off the layers of one pass, or each gradient formed."""
    variance: Variance = "auto"
    """Whether variances are added up over datapoints, or taken of the whole minibatch."""
    noise: NoiseSource = "latent"
    """What is drawn anew: the latents alone, at one minibatch, or a minibatch for every block as well."""
    memory: Annotated[int, Field(gt=0, le=LARGEST_INTEGER)] | None = None
    """Memory for block means, and the blocks of a reference, such as 2GB; past it they go to temporary files."""

    @field_validator("memory", mode="before")
    @classmethod
    def _bytes(cls, value: str | int | None) -> int | None:
        return None if value is None else parse_bytes(value)

    precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Cells get more blocks until the relative half-width of the variance's interval is at most this."""
    decide: bool = False
    """Cells get more blocks until the bias of all, φ and θ is found, or certainly below ``margin``."""
    budget: Annotated[float, Field(gt=0)] | None = None
    """Seconds for the whole run, shared out among its cells; each gets its first blocks whatever they take."""

    @model_validator(mode="after")
    def _divisible(self) -> Measure:
        if self.replicates % self.blocks:
            lower = self.replicates // self.blocks * self.blocks
            near = f"{lower} or {lower + self.blocks}" if lower else f"{self.blocks}"
            raise ValueError(f"replicates = {self.replicates} is no multiple of blocks = {self.blocks}; take {near}")
        if self.noise == "latent+data" and self.replicates < 2 * self.blocks:
            raise ValueError(
                f"noise = 'latent+data' takes at least 2 replicates in a block to tell the latents' part; "
                f"with blocks = {self.blocks} take replicates = {2 * self.blocks} or more"
            )
        return self

    def options(self) -> Options:
        """As the engine takes them."""
        return Options(self.engine, self.variance, self.memory)
