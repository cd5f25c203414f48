"""Checks of the splits that a protocol gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from osadbench.errors import DataError, UsageError
from osadbench.protocol import Protocol
from osadbench.testing.other_process import call_in_other_process
from osadbench.testing.results import expect, raises
from osadbench.types import Manifest, Split

__all__ = ["ProtocolCase"]

_SEEDS = (0, 1, 2)
_SHOTS = (1, 5, 10)


@dataclass(frozen=True)
class ProtocolCase:
    """A protocol's class, its parameters, and the manifest that it splits."""

    protocol_class: type[Protocol]
    manifest: Manifest
    params: Mapping[str, Any]

    def split(self, manifest: Manifest | None = None, **changes: Any) -> list[Split]:
        """Return the splits by a new instance, by default of the case's manifest."""
        protocol = self.protocol_class(**self.params)
        wanted = {"seeds": _SEEDS, "shots": _SHOTS, **changes}
        return list(protocol.splits(self.manifest if manifest is None else manifest, **wanted))

    @cached_property
    def splits(self) -> list[Split]:
        """The splits that most checks look at."""
        splits = self.split()
        expect(splits, "the protocol gave no split")
        return splits


def digests_of(protocol_class: type[Protocol], manifest: Manifest, params: Any) -> list[str]:
    """Return the digests of all splits; at the top level, for another process to call."""
    return [split.digest for split in ProtocolCase(protocol_class, manifest, params).split()]


def splits_say_what_they_are(case: ProtocolCase) -> None:
    """Every seed and number of shots is there; the splits name their manifest; none is twice."""
    asked = {(seed, shots) for seed in _SEEDS for shots in _SHOTS}
    expect(
        {(s.seed, s.shots) for s in case.splits} == asked, f"expected splits for {sorted(asked)}"
    )
    digest, name = case.manifest.digest, case.manifest.dataset
    expect(all(s.manifest_digest == digest for s in case.splits), "a split has another digest")
    expect(all(s.dataset == name for s in case.splits), f"a split is not of dataset {name!r}")
    expect(len({s.digest for s in case.splits}) == len(case.splits), "a split is there twice")


def paths_are_sorted(case: ProtocolCase) -> None:
    """``train_normals`` and ``test`` are sorted, and no path is in one of the three twice."""
    for split in case.splits:
        for paths in (split.train_normals, split.test):
            expect(list(paths) == sorted(paths), f"the paths of {_name(split)} are not sorted")
        for paths in (split.train_normals, split.train_anomalies, split.test):
            expect(len(set(paths)) == len(paths), f"{_name(split)} holds a path twice")


def train_and_test_are_disjoint(case: ProtocolCase) -> None:
    """No test image is trained on."""
    for split in case.splits:
        both = {*split.train_normals, *split.train_anomalies} & set(split.test)
        expect(
            not both,
            f"{_name(split)} trains and tests on {len(both)} images: {min(both, default='')}",
        )


def labels_are_in_their_places(case: ProtocolCase) -> None:
    """Training normals are normal, labelled anomalies anomalous, and the test has both."""
    label = {path: record.label for path, record in case.manifest.by_path.items()}
    for split in case.splits:
        unknown = {*split.train_normals, *split.train_anomalies, *split.test} - set(label)
        expect(not unknown, f"{_name(split)} has {min(unknown, default='')}, not in the manifest")
        expect({label[p] for p in split.train_normals} == {0}, "train_normals are not all normal")
        expect({label[p] for p in split.train_anomalies} == {1}, "train_anomalies hold normals")
        expect({label[p] for p in split.test} == {0, 1}, f"{_name(split)} tests only one label")


def same_seeds_same_splits(case: ProtocolCase) -> None:
    """A second call, with the arguments in another order, gives the same splits."""
    again = case.split(seeds=_SEEDS[::-1], shots=_SHOTS[::-1])
    expect({s.digest for s in again} == {s.digest for s in case.splits}, "a second call differs")


def same_splits_in_other_process(case: ProtocolCase) -> None:
    """Another process with another hash seed gives the same splits in the same order."""
    there = call_in_other_process(digests_of, case.protocol_class, case.manifest, dict(case.params))
    expect(there == [s.digest for s in case.splits], "another process gives other splits")


def shots_are_nested(case: ProtocolCase) -> None:
    """Of two splits that differ in shots only, the smaller's anomalies begin the larger's."""
    ordered = sorted(case.splits, key=lambda s: (_cell(s), s.shots))
    for cell, group in groupby(ordered, key=_cell):
        drawn = [split.train_anomalies for split in group]
        for few, many in zip(drawn, drawn[1:], strict=False):
            expect(
                many[: len(few)] == few, f"more shots draw other anomalies (known, seed: {cell})"
            )


def shots_are_kept(case: ProtocolCase) -> None:
    """A split holds at most as many labelled anomalies as asked for, and at least one."""
    for split in case.splits:
        n = len(split.train_anomalies)
        expect(1 <= n <= split.shots, f"{_name(split)} has {n} labelled anomalies")


def seeds_draw_differently(case: ProtocolCase) -> None:
    """Different seeds give different splits."""
    drawn = {(s.train_normals, s.train_anomalies) for s in case.splits if s.shots == _SHOTS[-1]}
    cells = {_cell(s)[:-1] for s in case.splits}
    expect(len(drawn) > len(cells), "all seeds draw the same images")


def impossible_requests_are_refused(case: ProtocolCase) -> None:
    """No shots raise ``UsageError``; manifests without normals or anomalies ``DataError``."""
    raises(UsageError, "shots=(0,)", lambda: case.split(shots=(0,)))
    for what, label in {"a manifest without normal images": 1, "one without anomalies": 0}.items():
        records = case.manifest.select(label=label)
        known = case.manifest.known_classes if label else ()
        poor = Manifest("toy", "", records, known)
        raises(DataError, what, case.split, poor)


def _cell(split: Split) -> tuple[str, str, int]:
    return split.category, split.known_class, split.seed


def _name(split: Split) -> str:
    return f"the split {split.row} with {split.shots} shots and seed {split.seed}"
