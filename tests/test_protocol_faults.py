from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from osadbench.errors import DataError, UsageError
from osadbench.params import Params
from osadbench.protocol import Protocol
from osadbench.seeds import derive_seed
from osadbench.testing import (
    PROTOCOL_CHECKS,
    ProtocolConformance,
    check_protocol,
    toy_manifest,
)
from osadbench.types import Adaptation, Manifest, Split

SAY = "splits say what they are"
SORTED = "paths are sorted"
DISJOINT = "training and test images are disjoint"
LABELS = "labels are in their places"
AGAIN = "same seeds, same splits"
PROCESS = "same splits in another process"
NESTED = "fewer shots are a part of more"
SHOTS = "no more anomalies than shots"
SEEDS = "seeds draw differently"
REFUSED = "impossible requests are refused"


class DrawnParams(Params):
    salt: int = 0


class Drawn(Protocol):
    """Draws labelled anomalies from each class in turn, or from those asked for."""

    Params = DrawnParams
    params: DrawnParams

    def splits(
        self,
        manifest: Manifest,
        *,
        seeds: Sequence[int],
        shots: Sequence[int],
        known_classes: Sequence[str] | None = None,
    ) -> Iterator[Split]:
        if min(shots) < 1:
            raise UsageError("expected 1 or more shots")
        if not manifest.anomaly_classes or not manifest.select(split="train", label=0):
            raise DataError("expected normal training images and anomalies")
        for known in known_classes or manifest.anomaly_classes:
            for seed in seeds:
                for n in shots:
                    yield self.draw(manifest, known, seed, n)

    def rng(self, known: str, seed: int, n: int) -> np.random.Generator:
        return np.random.default_rng(derive_seed(seed, known=known, salt=self.params.salt))

    def draw(self, manifest: Manifest, known: str, seed: int, n: int) -> Split:
        pool = [record.path for record in manifest.select(label=1, class_name=known)]
        drawn = tuple(str(path) for path in self.rng(known, seed, n).permutation(pool)[:n])
        test = tuple(r.path for r in manifest.select(split="test") if r.path not in drawn)
        normals = tuple(r.path for r in manifest.select(split="train", label=0))
        origin = ("drawn", manifest.dataset, "", known, n, seed, manifest.digest)
        return Split(*origin, normals, drawn, test)


class ForgetsAShot(Drawn):
    def splits(self, manifest: Manifest, **wanted: Any) -> Iterator[Split]:
        return (split for split in super().splits(manifest, **wanted) if split.shots != 5)


class Unsorted(Drawn):
    def draw(self, *arguments: Any) -> Split:
        split = super().draw(*arguments)
        return replace(split, test=split.test[::-1])


class Repeats(Drawn):
    def draw(self, *arguments: Any) -> Split:
        split = super().draw(*arguments)
        return replace(split, test=(split.test[0], *split.test))


class TestsOnTraining(Drawn):
    __test__ = False

    def draw(self, *arguments: Any) -> Split:
        split = super().draw(*arguments)
        return replace(split, test=tuple(sorted({*split.test, *split.train_anomalies})))


class TrainsOnAnomalies(Drawn):
    def draw(self, *arguments: Any) -> Split:
        split = super().draw(*arguments)
        *rest, moved = split.test
        normals = tuple(sorted((*split.train_normals, moved)))
        return replace(split, train_normals=normals, test=tuple(rest))


class TrainsOnSomeAnomalies(TrainsOnAnomalies):
    """Says so, and may."""

    unlabelled_anomalies = True


class TrainsMostlyOnAnomalies(TrainsOnSomeAnomalies):
    def draw(self, *arguments: Any) -> Split:
        split = super().draw(*arguments)
        moved = [path for path in split.test if "/good/" not in path][:-1]
        normals = tuple(sorted((*split.train_normals[:5], *moved)))
        return replace(split, train_normals=normals, test=tuple(sorted({*split.test} - {*moved})))


class TestsNormalsOnly(Drawn):
    __test__ = False

    def draw(self, *arguments: Any) -> Split:
        split = super().draw(*arguments)
        return replace(split, test=tuple(path for path in split.test if "/good/" in path))


class Unseeded(Drawn):
    def rng(self, known: str, seed: int, n: int) -> np.random.Generator:
        return np.random.default_rng()


class HashSeeded(Drawn):
    def rng(self, known: str, seed: int, n: int) -> np.random.Generator:
        return np.random.default_rng([hash(known) % 2**32, seed])


class DrawsAnewForEachShot(Drawn):
    def rng(self, known: str, seed: int, n: int) -> np.random.Generator:
        return np.random.default_rng([seed, n])


class IgnoresShots(Drawn):
    def draw(self, manifest: Manifest, known: str, seed: int, n: int) -> Split:
        return replace(super().draw(manifest, known, seed, 10), shots=n)


class IgnoresSeeds(Drawn):
    def rng(self, known: str, seed: int, n: int) -> np.random.Generator:
        return np.random.default_rng(1)


class RefusesNothing(Drawn):
    def splits(
        self, manifest: Manifest, *, seeds: Sequence[int], shots: Sequence[int], **_: Any
    ) -> Iterator[Split]:
        for known in manifest.anomaly_classes:
            for seed in seeds:
                yield from (self.draw(manifest, known, seed, n) for n in shots)


class Adapts(Drawn):
    """Trains on another category, and goes on with normals of its own."""

    def splits_among(
        self, manifest: Manifest, others: Sequence[Manifest], **wanted: Any
    ) -> Iterator[Split]:
        source = others[-1]
        for split in self.splits(manifest, **wanted):
            trained = self.draw(source, split.known_class, split.seed, split.shots)
            adaptation = Adaptation(source.category, source.digest, split.train_normals, 1)
            yield self.join(
                replace(
                    split,
                    train_normals=trained.train_normals,
                    train_anomalies=trained.train_anomalies,
                    adaptation=adaptation,
                )
            )

    def join(self, split: Split) -> Split:
        return split


def adapting(split: Split, **changes: Any) -> Split:
    assert split.adaptation is not None
    return replace(split, adaptation=replace(split.adaptation, **changes))


class AdaptsToAnomalies(Adapts):
    def join(self, split: Split) -> Split:
        *rest, moved = split.test
        assert split.adaptation is not None
        normals = tuple(sorted((*split.adaptation.normals, moved)))
        return adapting(replace(split, test=tuple(rest)), normals=normals)


class AdaptsToTestImages(Adapts):
    def join(self, split: Split) -> Split:
        assert split.adaptation is not None
        normals = (path for path in split.test if "/good/" in path)
        return adapting(split, normals=tuple(sorted((*split.adaptation.normals, *normals))))


class AdaptsUnsorted(Adapts):
    def join(self, split: Split) -> Split:
        assert split.adaptation is not None
        return adapting(split, normals=split.adaptation.normals[::-1])


class NamesAnotherSource(Adapts):
    def join(self, split: Split) -> Split:
        return adapting(split, source_digest=split.manifest_digest)


# Each fault, what it must break (and nothing else), and a part of the first message.
FAULTY: list[tuple[type[Protocol], set[str], str]] = [
    (ForgetsAShot, {SAY}, "expected splits for"),
    (Unsorted, {SORTED}, "are not sorted"),
    (Repeats, {SORTED}, "holds a path twice"),
    (TestsOnTraining, {DISJOINT}, "trains and tests on 1 images: test/crack/"),
    (TrainsOnAnomalies, {LABELS}, "train_normals are not all normal"),
    (TrainsMostlyOnAnomalies, {LABELS}, "most train_normals are anomalies"),
    (AdaptsToAnomalies, {LABELS}, "adaptation.normals hold anomalies"),
    (AdaptsToTestImages, {DISJOINT}, "trains and tests on 10 images: test/good/"),
    (AdaptsUnsorted, {SORTED}, "are not sorted"),
    (NamesAnotherSource, {SAY}, "has another source digest"),
    (TestsNormalsOnly, {LABELS}, "tests only one label"),
    (Unseeded, {AGAIN, PROCESS, NESTED}, "a second call differs"),
    (HashSeeded, {PROCESS}, "another process gives other splits"),
    (DrawsAnewForEachShot, {NESTED}, "more shots draw other anomalies"),
    (IgnoresShots, {SHOTS}, "has 10 labelled anomalies"),
    (IgnoresSeeds, {SEEDS}, "all seeds draw the same images"),
    (RefusesNothing, {REFUSED}, "shots=(0,) raised nothing; expected UsageError"),
]


def failures(protocol_class: type[Protocol], **given: Any) -> dict[str, str]:
    results = check_protocol(protocol_class, **given)
    assert [result.name for result in results] == list(PROTOCOL_CHECKS)
    return {result.name: result.message for result in results if not result.passed}


@pytest.mark.parametrize(
    ("protocol_class", "broken", "message"), FAULTY, ids=[fault[0].__name__ for fault in FAULTY]
)
def test_planted_faults_are_found(
    protocol_class: type[Protocol], broken: set[str], message: str
) -> None:
    found = failures(protocol_class)
    assert set(found) == broken
    assert message in next(iter(found.values()))


def test_every_guarantee_is_broken_by_some_fault() -> None:
    assert set().union(*(broken for _, broken, _ in FAULTY)) == set(PROTOCOL_CHECKS)


def test_a_good_protocol_passes_with_parameters_and_another_manifest() -> None:
    assert failures(Drawn, salt=3, manifest=toy_manifest(16, 12, ("bent",))) == {}


def test_another_category_may_be_trained_on() -> None:
    assert failures(Adapts) == {}
    assert failures(Adapts, manifest=toy_manifest(category="second")) == {}


def test_unlabelled_anomalies_are_for_protocols_that_declare_them() -> None:
    assert failures(TrainsOnSomeAnomalies) == {}


def test_only_protocols_can_be_checked() -> None:
    with pytest.raises(UsageError, match=r"expected a subclass of osadbench\.protocol\.Protocol"):
        check_protocol(Manifest)  # type: ignore[arg-type]


def test_the_toy_manifest() -> None:
    manifest = toy_manifest(10, 3, ("bent",))
    assert len(manifest.select(split="train", label=0)) == 8
    assert len(manifest.select(split="test", label=0)) == 2
    assert len(manifest.select(split="test", class_name="bent")) == 3
    assert manifest.known_classes == ("bent",)
    assert {record.path[:6] for record in manifest.records} == {"test/b", "test/g", "train/"}
    jar = toy_manifest(10, 3, ("bent",), category="jar")
    assert jar.name == "toy/jar" and all(r.path.startswith("jar/t") for r in jar.records)
    assert not {r.sha256 for r in jar.records} & {r.sha256 for r in manifest.records}


class TestDrawn(ProtocolConformance):
    protocol_class = Drawn

    @classmethod
    def manifest(cls) -> Manifest:
        return toy_manifest(20, 12)
