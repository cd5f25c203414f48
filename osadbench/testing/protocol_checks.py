"""Checks of the splits that a protocol gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from osadbench.errors import DataError, UsageError
from osadbench.protocol import Protocol
from osadbench.testing.other_process import call_in_other_process
from osadbench.testing.results import expect, raises
from osadbench.testing.toys import toy_manifest
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
        tested = self.manifest if manifest is None else manifest
        return list(protocol.splits_among(tested, [tested, *self.others], **wanted))

    @cached_property
    def others(self) -> list[Manifest]:
        """Two further categories of the dataset, for protocols that train on others."""
        names = [name for name in ("first", "second", "third") if name != self.manifest.category]
        toys = [toy_manifest(category=name) for name in names[:2]]
        return [replace(toy, dataset=self.manifest.dataset) for toy in toys]

    def trained_on(self, split: Split) -> Manifest:
        """Return the manifest of what ``fit`` gets: the source's, or the case's own."""
        if split.adaptation is None:
            return self.manifest
        source, by_category = split.adaptation.source, {m.category: m for m in self.others}
        expect(source in by_category, f"{_name(split)} is trained on {source!r}, which isn't there")
        return by_category[source]

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
    for split in case.splits:
        if split.adaptation is not None:
            source = case.trained_on(split).digest
            expect(
                split.adaptation.source_digest == source,
                f"{_name(split)} has another source digest",
            )
    expect(all(s.dataset == name for s in case.splits), f"a split is not of dataset {name!r}")
    expect(len({s.digest for s in case.splits}) == len(case.splits), "a split is there twice")


def paths_are_sorted(case: ProtocolCase) -> None:
    """All paths but the labelled anomalies' are sorted, and none is twice in one place."""
    for split in case.splits:
        adapted = _adapted(split)
        for paths in (split.train_normals, split.test, adapted):
            expect(list(paths) == sorted(paths), f"the paths of {_name(split)} are not sorted")
        for paths in (split.train_normals, split.train_anomalies, split.test, adapted):
            expect(len(set(paths)) == len(paths), f"{_name(split)} holds a path twice")


def train_and_test_are_disjoint(case: ProtocolCase) -> None:
    """No test image is trained on."""
    for split in case.splits:
        trained = {*split.train_normals, *split.train_anomalies, *_adapted(split)}
        both = trained & set(split.test)
        expect(
            not both,
            f"{_name(split)} trains and tests on {len(both)} images: {min(both, default='')}",
        )


def labels_are_in_their_places(case: ProtocolCase) -> None:
    """Training normals are normal, labelled anomalies anomalous, and the test has both.

    Of the training normals of a protocol that declares ``unlabelled_anomalies``, most are normal.
    """
    for split in case.splits:
        own, trained = case.manifest, case.trained_on(split)
        normals = _labels(split, trained, split.train_normals)
        if case.protocol_class.unlabelled_anomalies:
            expect(2 * sum(normals) < len(normals), "most train_normals are anomalies")
        else:
            expect(not any(normals), "train_normals are not all normal")
        expect(all(_labels(split, trained, split.train_anomalies)), "train_anomalies hold normals")
        expect(not any(_labels(split, own, _adapted(split))), "adaptation.normals hold anomalies")
        expect({*_labels(split, own, split.test)} == {0, 1}, f"{_name(split)} tests only one label")


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


def _labels(split: Split, manifest: Manifest, paths: Sequence[str]) -> list[int]:
    """Return the labels of paths, all of which must be in the manifest."""
    unknown = set(paths) - set(manifest.by_path)
    expect(not unknown, f"{_name(split)} has {min(unknown, default='')}, not in the manifest")
    return [manifest.by_path[path].label for path in paths]


def _adapted(split: Split) -> tuple[str, ...]:
    return () if split.adaptation is None else split.adaptation.normals


def _cell(split: Split) -> tuple[str, int]:
    return split.row, split.seed


def _name(split: Split) -> str:
    return f"the split {split.row} with {split.shots} shots and seed {split.seed}"
