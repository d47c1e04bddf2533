"""Every command that reads runs, on losses that were not timed, or held against nothing."""

from __future__ import annotations

import pytest
import torch

import gradbench as gb

WEIGHT = torch.tensor([0.3, 1.0], requires_grad=True)
EXACT = 2 * WEIGHT.detach()


def losses():
    def one():
        return (WEIGHT * torch.randn(2)).square().sum()

    def four():
        return (WEIGHT * torch.randn(4, 2)).square().sum(1).mean()

    return {("plain", 1): one, ("plain", 4): four, ("other", 1): one}


COMMANDS = (
    *("show", "show --at seconds", "show --at evaluations", "show --full", "compare", "compare --at seconds"),
    *("recommend", "recommend --seconds 1", "export --format latex", "export --format markdown", "export --format csv"),
    *(
        "plot --kind variance -o f.png",
        "plot --kind plane -o f.png",
        "plot --kind frontier -o f.png",
        "report -o r.html",
    ),
)


@pytest.fixture(params=["no reference", "not timed", "neither"])
def run(request, tmp_path):
    reference = EXACT if request.param == "not timed" else None
    timed = request.param == "no reference"
    gb.measure(losses(), WEIGHT, reference=reference, replicates=64, blocks=8, timed=timed, out=tmp_path / "run")
    return request.param


def test_every_command_reads_them(run, gradbench, tmp_path) -> None:
    said = {}
    for line in COMMANDS:
        word, *options = line.split()
        ended = gradbench(word, tmp_path / "run", *options)
        assert ended.code == 0, (line, ended.err)
        said[line] = " ".join(ended.out.split())
        assert "None" not in said[line], line
        assert "()" not in said[line], line
    if run != "not timed":
        for line in ("show", "plot --kind variance -o f.png", "export --format markdown"):
            assert "of the mean; no reference" in said[line] or "‖g‖" not in said[line]
        assert "(no reference)" in said["recommend"]
        assert "would decide" not in said["show"]
        assert "no bias is told" in (tmp_path / "r.html").read_text(encoding="utf-8")
    else:
        assert "(not timed)" in said["recommend"]
    if run != "no reference":
        assert "over budget" not in said["show --at seconds"]
        assert "not timed" in said["show --at seconds"]
