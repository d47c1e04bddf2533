"""References that several processes need: what is found by one is found by all, to the bit, and made once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gradbench.core.types import Gradients
from gradbench.objectives.chosen import natural
from gradbench.target import reference, shared_reference
from gradbench.target.reference import Reference, TargetReference
from gradbench.target.shared_blocks import SharedBlocks, locked
from gradbench.target.shared_reference import SharedReference
from tests.helpers import point_of, with_kl

NAME = ["a target"]


def gradient(block: int) -> Gradients:
    """A gradient that tells its block."""
    return {"phi.w": torch.full((2, 3), float(block)), "theta.b": torch.tensor([block / 7], dtype=torch.float64)}


def numbers(found: Iterator[tuple[int, Gradients]]) -> dict[int, float]:
    return {block: float(own["theta.b"]) for block, own in found}


def test_blocks_are_made_once_and_come_back_to_the_bit(tmp_path):
    made: list[int] = []

    def counted(block: int) -> Gradients:
        made.append(block)
        return gradient(block)

    wanted = {block: block / 7 for block in range(3, 21)}
    assert numbers(SharedBlocks(tmp_path, NAME).each(range(3, 21), counted)) == wanted
    assert made == list(range(3, 21))
    again = dict(SharedBlocks(tmp_path, NAME).each(range(3, 21), counted))
    assert made == list(range(3, 21)), "all of them are in files"
    assert all(torch.equal(value, gradient(block)[name]) for block in again for name, value in again[block].items())
    assert numbers(SharedBlocks(tmp_path, ["another"]).each(range(8), counted)) == {
        block: block / 7 for block in range(8)
    }
    assert made[18:] == list(range(8)), "another reference's blocks are its own"


def test_a_damaged_file_is_made_anew(tmp_path):
    list(SharedBlocks(tmp_path, NAME).each(range(8), gradient))
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    assert numbers(SharedBlocks(tmp_path, NAME).each(range(8), gradient)) == {block: block / 7 for block in range(8)}


def test_where_nothing_can_be_written_everybody_makes_all(tmp_path):
    (tmp_path / "file").write_text("")
    wanted = {block: block / 7 for block in range(8)}
    for _ in range(2):
        assert numbers(SharedBlocks(tmp_path / "file" / "folder", NAME).each(range(8), gradient)) == wanted


def test_what_another_is_at_is_left_to_it(tmp_path):
    """Two at once make every block once; whoever comes to a part that is being made goes on with the next."""
    made: dict[str, list[int]] = {"one": [], "other": []}
    found: dict[str, dict[int, float]] = {}

    def work(name: str) -> None:
        def slow(block: int) -> Gradients:
            made[name].append(block)
            time.sleep(0.01)
            return gradient(block)

        found[name] = numbers(SharedBlocks(tmp_path, NAME).each(range(32), slow))

    threads = [threading.Thread(target=work, args=(name,)) for name in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(made["one"] + made["other"]) == list(range(32))
    assert min(len(blocks) for blocks in made.values()) >= 8, "both had a part in it"
    assert found["one"] == found["other"] == {block: block / 7 for block in range(32)}


def _die_at_work(folder: Path) -> None:
    def deadly(block: int) -> Gradients:
        os.kill(os.getpid(), signal.SIGKILL)
        return gradient(block)

    list(SharedBlocks(folder, NAME).each(range(8), deadly))


def test_what_another_died_at_is_made_here(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_die_at_work, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert numbers(SharedBlocks(tmp_path, NAME).each(range(8), gradient)) == {block: block / 7 for block in range(8)}


def test_a_lock_that_another_holds_is_not_waited_for_longer_than_asked(tmp_path):
    with locked(tmp_path / "a", 0) as free, locked(tmp_path / "a", 0) as other, locked(tmp_path / "b", 0) as own:
        assert (free, other, own) == (True, False, True)
    with locked(tmp_path / "a", 0) as free:
        assert free


def source_at(sampled: bool) -> TargetReference:
    """A reference that is sampled, or has a closed form."""
    point = point_of("gaussian-vae", hidden=8, latent=8, batch=2) if sampled else point_of("linear-gaussian", latent=2)
    chosen = with_kl(natural(point.problem), point, "monte-carlo" if sampled else None)
    return TargetReference(point, chosen, 1, 16)


def same(one: Reference, other: Reference) -> bool:
    parts = [(one.gradient, other.gradient), (one.blocks or {}, other.blocks or {})]
    equal = all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in parts)
    return equal and one.kind == other.kind


@pytest.mark.parametrize("sampled", [True, False])
def test_a_second_process_finds_what_the_first_found(tmp_path, monkeypatch, sampled):
    alone = source_at(sampled)
    told: list[None] = []

    def shared() -> SharedReference:
        return SharedReference(tmp_path, NAME, lambda: source_at(sampled), "cpu", 2**30, lambda: told.append(None))

    first = shared()
    assert same(first.upto(12), alone.upto(12))
    assert bool(told) == sampled, "others can help with blocks alone"
    assert first.upto(12).exact != sampled
    monkeypatch.setattr(reference, "block_gradient", None)
    monkeypatch.setattr(reference, "exactly", None)
    second = shared()
    assert same(second.upto(12), alone.upto(12)), "and makes nothing itself, nor tries what was tried"
    monkeypatch.undo()
    assert same(second.upto(20), alone.upto(20)), "and goes on from there"


def test_blocks_that_take_too_much_go_to_no_file(tmp_path):
    found = SharedReference(tmp_path, NAME, lambda: source_at(sampled=True), "cpu", 1000).upto(12)
    assert same(found, source_at(sampled=True).upto(12))
    marks = list(tmp_path.glob("*.safetensors"))
    assert len(marks) == 1, "but that it is sampled is known"
    assert marks[0].stat().st_size < 1000


def test_one_computes_what_is_exact_while_others_wait(tmp_path, monkeypatch):
    calls: list[int] = []
    original = reference.exactly

    def slow(*given):
        calls.append(1)
        time.sleep(0.3)
        return original(*given)

    monkeypatch.setattr(reference, "exactly", slow)
    sources = [SharedReference(tmp_path, NAME, lambda: source_at(sampled=False), "cpu", 2**30) for _ in range(2)]
    threads = [threading.Thread(target=source.upto, args=(8,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(calls) == 1
    assert same(sources[0].upto(8), sources[1].upto(8))


def test_the_kinds_are_numbered_as_they_are_in_files():
    assert shared_reference.KINDS == ("closed-form", "enumeration", "quadrature", "monte-carlo")
