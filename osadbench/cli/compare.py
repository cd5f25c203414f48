"""The command ``compare``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click

from osadbench.cli.stored import (
    allow_partial_option,
    format_option,
    interval_options,
    measured,
    metric_option,
    read_store,
    reading,
)
from osadbench.errors import StoreError, UsageError, did_you_mean
from osadbench.report.differences import Side, differences, render_differences
from osadbench.report.grouping import tell_apart, with_source
from osadbench.store import Store
from osadbench.types import SMOKE, Record

__all__ = ["COMMANDS"]

#: In a docstring, the sign that keeps lines from being joined could not stand.
_HELP = """\b
A and B are written alike:
  STORE             a results folder
  STORE:METHOD      one of its columns, such as results/runs:dra
  STORE@PRESET      its results of a preset, such as results/runs@frozen
  STORE@COMMIT      those of a commit, by 7 or more of its digits
  STORE@NAME=VALUE  those of an engine setting, weights or manifest
@ may come several times, :METHOD comes last. Results of preset smoke take
part where @smoke names them."""
#: Scores that are kept at hand: a method without labels is compared with the other one's results of
#: each number of shots, one seed after the other.
_KEPT = 64
_GRAMMAR = "STORE, STORE@PRESET, STORE@COMMIT or STORE@NAME=VALUE, each with :METHOD if wanted"


@click.command(epilog=_HELP)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@format_option
@metric_option
@interval_options
@click.option("--all", "show_all", is_flag=True, help="List cells with the same scores, too.")
@allow_partial_option
def compare(
    first: str,
    second: str,
    format_: str,
    metric: str,
    level: float,
    bootstrap: bool,
    show_all: bool,
    allow_partial: bool,
) -> None:
    """Say which cells of A and B differ, and by how much.

    Cells are paired by protocol, dataset, row, shots, seed and method. With a METHOD on either
    side, that method is compared with the other side's METHOD, or with itself. Intervals of the
    difference of two AUROCs are on the same test images.
    """
    one, other = _parse(first), _parse(second)
    # Both may be parts of one folder.
    read = functools.cache(read_store)
    (store_a, all_a), (store_b, all_b) = read(one.folder), read(other.folder)
    side_a = _side(one, one.label or other.label, store_a, tell_apart(all_a, all_b))
    side_b = _side(other, other.label or one.label, store_b, tell_apart(all_b, all_a))
    with reading([*side_a.records, *side_b.records]) as counted:
        keep = functools.lru_cache(_KEPT)
        found = differences(
            replace(side_a, scores_of=keep(counted(side_a.scores_of))),
            replace(side_b, scores_of=keep(counted(side_b.scores_of))),
            by_label=not (one.label or other.label),
            metric=metric,
            level=level,
            bootstrap=bootstrap,
            allow_partial=allow_partial,
        )
    click.echo(render_differences(found, format_, show_all=show_all), nl=False)


class _Asked(NamedTuple):
    """One side as it was asked for."""

    text: str
    folder: Path
    chosen: list[str]
    label: str


def _parse(text: str) -> _Asked:
    """Split a side's text; the folder is the longest beginning that is one."""
    for folder, rest in _beginnings(text):
        match = re.fullmatch(r"((?:@[^@:]+)*)(?::(.+))?", rest)
        if folder.is_dir() and match is not None:
            return _Asked(text, folder, match[1].split("@")[1:], match[2] or "")
    raise StoreError(f"no results folder begins {text!r}: expected {_GRAMMAR}")


def _beginnings(text: str) -> Iterator[tuple[Path, str]]:
    ends = [len(text), *(match.start() for match in re.finditer("[@:]", text))]
    for end in sorted(ends, reverse=True):
        if end:
            yield Path(text[:end]), text[end:]


def _side(asked: _Asked, label: str, store: Store, records: list[Record]) -> Side:
    presets = {record.preset for record in records}
    if SMOKE not in asked.chosen:
        records = measured(records)
    for word in asked.chosen:
        kept = [record for record in records if _fits(record, word, presets)]
        if not kept:
            raise UsageError(f"{asked.text}: no results of {word!r}: {_known(records, word)}")
        records = kept
    if label:
        records = _of_method(records, label, asked.text)
    name = asked.text if asked.label == label else f"{asked.text}:{label}"
    return Side(name, records, store.scores)


def _of_method(records: list[Record], label: str, text: str) -> list[Record]:
    labels = {record.label for record in records}
    if label not in labels:
        # The other side's outliers may have lengthened the only label here.
        longer = {r.label for r in records if r.label == with_source(label, r)}
        if len(longer) != 1:
            raise UsageError(
                f"{text}: no results of method {label!r}: {did_you_mean(label, labels)}"
            )
        (label,) = longer
    return [record for record in records if record.label == label]


def _fits(record: Record, word: str, presets: set[str]) -> bool:
    name, equals, value = word.partition("=")
    if name in ("weights", "manifest") and equals:
        found = record.weights if name == "weights" else record.manifest
        # A digest is given without its kind: a colon ends what chooses.
        return found.startswith(value) or found.partition(":")[2].startswith(value)
    if equals:
        return str(record.engine.get(name)).replace(" ", "") == value.replace(" ", "")
    if word in presets:
        return record.preset == word
    commit = str(record.provenance.get("commit") or "")
    return len(word) >= 7 and commit.startswith(word.lower())


def _known(records: list[Record], word: str) -> str:
    name, equals, _ = word.partition("=")
    if equals:
        return did_you_mean(name, {"weights", "manifest", *(k for r in records for k in r.engine)})
    commits = {str(r.provenance.get("commit") or "unknown")[:10] for r in records}
    return did_you_mean(word, {*(r.preset for r in records), *commits})


COMMANDS = (compare,)
