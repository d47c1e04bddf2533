"""Ways in which a run folder may be damaged: bytes, files, the structure of its manifest, the structure of its rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Damage = Callable[[Path, Random], bool]
"""Damages a run folder; whether what it holds was rewritten as another program would, without a checksum."""


def files(run: Path) -> list[Path]:
    return sorted(file for file in run.rglob("*") if file.is_file() and file.name != "slopes.parquet")


def tables(run: Path) -> list[Path]:
    return [file for file in files(run) if file.suffix == ".parquet"]


# Bytes


def flipped(run: Path, random: Random) -> bool:
    file = random.choice(files(run))
    data = bytearray(file.read_bytes())
    for _ in range(random.choice([1, 1, 1, 3, 50])):
        at = random.randrange(len(data))
        data[at] ^= 1 << random.randrange(8)
    file.write_bytes(data)
    return False


def cut(run: Path, random: Random) -> bool:
    file = random.choice(files(run))
    data = file.read_bytes()
    file.write_bytes(data[: random.choice([0, 1, random.randrange(len(data)), len(data) - 1])])
    return False


def overwritten(run: Path, random: Random) -> bool:
    file = random.choice(files(run))
    data = bytearray(file.read_bytes())
    at, length = random.randrange(len(data)), random.choice([4, 100, 4096])
    filling = random.choice([b"\0" * length, random.randbytes(length), bytes(data[:length])])
    data[at : at + length] = filling
    file.write_bytes(data)
    return False


def longer(run: Path, random: Random) -> bool:
    file = random.choice(files(run))
    file.write_bytes(file.read_bytes() + random.randbytes(random.choice([1, 64])))
    return False


def noise(run: Path, random: Random) -> bool:
    random.choice(files(run)).write_bytes(random.randbytes(500))
    return False


# Files


def gone(run: Path, random: Random) -> bool:
    random.choice(files(run)).unlink()
    return False


def no_file(run: Path, random: Random) -> bool:
    file = random.choice(files(run))
    file.unlink()
    match random.choice(["folder", "pipe", "nowhere", "itself", "zero"]):
        case "folder":
            file.mkdir()
        case "pipe":
            os.mkfifo(file)
        case "nowhere":
            file.symlink_to("/nowhere/at/all")
        case "itself":
            file.symlink_to(file)
        case "zero":
            file.symlink_to("/dev/zero")
    return False


def linked(run: Path, random: Random) -> bool:
    """A file moved out of the folder, with a link in its place."""
    file = random.choice(files(run))
    outside = run.with_name(f"{run.name}-outside-{file.name}")
    file.rename(outside)
    file.symlink_to(outside)
    return False


def exchanged(run: Path, random: Random) -> bool:
    one, two = random.choice(files(run)), random.choice(files(run))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    return False


def leftovers(run: Path, random: Random) -> bool:
    (run / f".results.parquet.{random.randrange(99999)}.partial").write_bytes(b"half")
    (run / ".lock").write_bytes(b"")
    (run / ".lock.json").write_text(
        random.choice(["", "{", "[]", '{"pid": "x"}', '{"host": 1, "pid": [], "command": 2}'])
    )
    return False


# The manifest

ODD: list[Any] = [
    None,
    0,
    -1,
    2**70,
    1.5,
    True,
    "",
    "x",
    "\x1b[31m",
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    "9" * 5000,
    float("nan"),
]


def manifest_changed(run: Path, random: Random) -> bool:
    """One value of the manifest is another, or gone, on purpose: without a checksum."""
    file = run / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest.pop("checksum", None)
    at, keys = manifest, list(manifest)
    while True:
        key = random.choice(keys)
        below = at[key]
        if isinstance(below, dict | list) and below and random.random() < 0.7:
            at, keys = below, list(below) if isinstance(below, dict) else list(range(len(below)))
            continue
        if random.random() < 0.4:
            del at[key]
        else:
            at[key] = random.choice(ODD)
        break
    file.write_text(json.dumps(manifest))
    return True


def manifest_odd(run: Path, random: Random) -> bool:
    deep = "[" * 100_000 + "]" * 100_000
    number = '{"schema_version": ' + "9" * 5000 + "}"
    texts = ["", "null", "[]", "{}", deep, number, '{"schema_version": 3, "suite_resolved": {}}', "\0", '"text"']
    (run / "manifest.json").write_text(random.choice(texts))
    return False


# Rows


def rewritten(change: Callable[[pa.Table, Random], pa.Table]) -> Damage:
    """A damage that reads a table, changes it, and writes it as any program would."""

    def damage(run: Path, random: Random) -> bool:
        file = random.choice(tables(run))
        pq.write_table(change(pq.read_table(file), random), file)
        return True

    damage.__name__ = change.__name__
    return damage


def without_column(table: pa.Table, random: Random) -> pa.Table:
    return table.drop_columns([random.choice(table.column_names)])


def of_another_type(table: pa.Table, random: Random) -> pa.Table:
    index = random.randrange(table.num_columns)
    kinds = [["x"], [None], [2**40], [-1.5]]
    values = pa.array(random.choice(kinds) * table.num_rows)
    return table.set_column(index, table.column_names[index], values)


def twice(table: pa.Table, random: Random) -> pa.Table:
    return pa.concat_tables([table, table.slice(random.randrange(table.num_rows), 3)])


def twice_with_other_figures(table: pa.Table, random: Random) -> pa.Table:
    again = table.slice(0, 2)
    values = [None if value is None else 2 * value for value in again.column("variance").to_pylist()]
    index = table.column_names.index("variance")
    return pa.concat_tables([table, again.set_column(index, again.schema.field(index), pa.array(values, pa.float64()))])


def one_odd_value(table: pa.Table, random: Random) -> pa.Table:
    index, row = random.randrange(table.num_columns), random.randrange(table.num_rows)
    field = table.schema.field(index)
    values = table.column(index).to_pylist()
    if pa.types.is_string(field.type):
        values[row] = random.choice([None, "", "x", "{", "[1]", "phi", "ok", "\x1b[2J", "[/x]", "1" * 5000])
    elif pa.types.is_floating(field.type):
        values[row] = random.choice([None, float("nan"), float("inf"), -1.0, 0.0, 1e308])
    elif pa.types.is_integer(field.type):
        values[row] = random.choice([None, 0, -1, 2**31 - 1])
    else:
        values[row] = None
    return table.set_column(index, field, pa.array(values, field.type))


def no_rows(table: pa.Table, random: Random) -> pa.Table:
    return table.slice(0, random.choice([0, 1]))


DAMAGES: tuple[Damage, ...] = (
    flipped,
    flipped,
    flipped,
    flipped,
    cut,
    overwritten,
    longer,
    noise,
    gone,
    no_file,
    linked,
    exchanged,
    leftovers,
    manifest_changed,
    manifest_changed,
    manifest_changed,
    manifest_odd,
    rewritten(without_column),
    rewritten(of_another_type),
    rewritten(twice),
    rewritten(twice_with_other_figures),
    rewritten(one_odd_value),
    rewritten(one_odd_value),
    rewritten(no_rows),
)
