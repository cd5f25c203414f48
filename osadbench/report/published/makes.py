"""Whether results were made in one way, so that they may stand in one table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from osadbench.errors import StoreError
from osadbench.report.aspects import most_common, values_met
from osadbench.report.facts import short_weights
from osadbench.types import NO_WEIGHTS, Record

__all__ = ["Makes", "makes_of"]

_SHOWN = 4


@dataclass(frozen=True)
class Makes:
    """The ways in which the results of one table were made.

    Attributes:
        usual: What most results have, by aspect, such as ``"preset"``.
        differences: One line for each aspect in which results differ.
        tested: The digest of the test images that most results of one row and seed have, or, of as
            many, the newest. Results of others are told and marked, but refuse no table.
    """

    usual: Mapping[str, str]
    differences: tuple[str, ...]
    tested: Mapping[str, str]

    def oddities(self, record: Record) -> int:
        """Return in how many aspects a record differs from most of the table."""
        aspects = sum(self.usual.get(aspect, value) != value for aspect, value in _aspects(record))
        return aspects + self.tested_apart(record)

    def tested_apart(self, record: Record) -> bool:
        """Return whether a record is of other test images than is usual for its row and seed."""
        return any(self.tested.get(place, value) != value for place, value in _tested(record))

    def refuse_mixed(self) -> None:
        """Check that there is but one.

        Raises:
            StoreError: There are several; all that differs is named.
        """
        if not self.differences:
            return
        hint = "name one --preset, " if self.differences[0].startswith("preset:") else ""
        raise StoreError(
            f"results of one table must be made in one way, but here differ: "
            f"{'; '.join(self.differences)}: {hint}use a folder of their own for each (-o), or "
            "see them together by --allow-mixed"
        )


def makes_of(records: Iterable[Record]) -> Makes:
    """Return how the finished ones of a table's records were made."""
    done = [record for record in records if record.status == "done"]
    met = values_met(aspect for record in done for aspect in _aspects(record))
    usual = {aspect: most_common(values) for aspect, values in met.items()}
    mixed = {aspect: sorted(values) for aspect, values in met.items() if len(values) > 1}
    if "preset" in mixed:
        # Another preset is another engine and may have other weights, which goes without saying.
        follows = ("engine setting", "image sizes", "weights")
        mixed = {aspect: v for aspect, v in mixed.items() if not aspect.startswith(follows)}
    ordered = sorted(mixed, key=lambda aspect: (aspect != "preset", aspect))
    differences = tuple(f"{aspect}: {_listed(mixed[aspect])}" for aspect in ordered)
    return Makes(usual, differences, _usually_tested(done))


def _aspects(record: Record) -> Iterator[tuple[str, str]]:
    """Yield what all results of a table should share, each aspect with its value."""
    yield "preset", record.preset
    for key, value in record.engine.items():
        if key == "image_sizes":
            # Datasets have sizes of their own.
            yield f"image sizes of {record.place}", str(value)
        elif key != "preset":
            yield f"engine setting {key}", str(value)
    if record.weights != NO_WEIGHTS:
        whose = f" of {record.label}" if record.has_own_backbone else ""
        yield f"weights{whose}", short_weights(record.weights)
    versions = record.provenance.get("versions") or {}
    for package, version in versions.items():
        if version is not None:
            yield f"version of {package}", str(version)
    yield f"images of {record.place}", record.manifest[:12]
    if record.outlier_source:
        yield f"outliers of {record.label} on {record.place}", record.outlier_source


def _usually_tested(records: Iterable[Record]) -> dict[str, str]:
    """Return the digest of the usual test images by place, see :attr:`Makes.tested`."""
    started: dict[str, dict[str, list[float]]] = {}
    for record in records:
        for place, digest in _tested(record):
            times = started.setdefault(place, {}).setdefault(digest, [])
            times.append(record.started)
    return {
        place: max((len(times), max(times), digest) for digest, times in found.items())[-1]
        for place, found in started.items()
    }


def _tested(record: Record) -> Iterator[tuple[str, str]]:
    """Yield the place whose results should have test images in common, with those of a record."""
    # Of a protocol, all shots are tested on the same images, and so is what takes no labels.
    if (digest := record.split.get("test_digest")) is not None:
        yield f"{record.protocol} {record.place} {record.row} {record.seed}", digest


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return " and ".join(values) if not more else f"{', '.join(values[:_SHOWN])}{more}"
