"""Numbers of images: how those that were found differ from those that a dataset declares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from osadbench.datasets.findings import Findings
from osadbench.types import NORMAL_CLASS, ImageRecord

__all__ = ["ANY_CLASS", "Difference", "check_counts", "differences"]

#: Stands in declared counts for all anomaly classes together, where no source gives each of them.
ANY_CLASS = "*"


class Difference(NamedTuple):
    """A number of images that is not as declared.

    Attributes:
        name: What was counted, under the name that the counts have for it.
        found: Number of images found.
        wanted: What is declared, such as ``"426"`` or ``"11 or more"``.
    """

    name: str
    found: int
    wanted: str


def differences(
    found: Mapping[str, int],
    expected: Mapping[str, int],
    fewest: Mapping[str, int | None] | None = None,
) -> list[Difference]:
    """Compare numbers of images with the declared ones.

    Args:
        found: Numbers found, by class or by ``split/class``.
        expected: The declared numbers, by the same names. Where one is for ``*``, the anomalies are
            compared all together.
        fewest: By the same names, the anomaly classes that ``*`` stands for, with the least number
            of images of each; None where none is known.

    Returns:
        What differs, sorted by name; all anomalies together are called ``anomalies``.
    """
    whole = next((name for name in expected if _class_of(name) == ANY_CLASS), None)
    pooled = found if whole is None else _pooled(found, whole)
    differing = [
        Difference(name.replace(ANY_CLASS, "anomalies"), pooled.get(name, 0), f"{wanted}")
        for name, wanted in {**dict.fromkeys(pooled, 0), **expected}.items()
        if pooled.get(name, 0) != wanted
    ]
    # Where all anomalies are there, a class of unknown number may stand under another name.
    some_are_missing = whole is not None and pooled[whole] < expected[whole]
    for name, least in (fewest or {}).items():
        here = found.get(name, 0)
        if least is not None and here < least:
            differing.append(Difference(name, here, f"{least} or more"))
        elif least is None and not here and some_are_missing:
            differing.append(Difference(name, here, "some"))
    return sorted(differing)


def _pooled(found: Mapping[str, int], whole: str) -> dict[str, int]:
    """Return the numbers of normals, and that of all anomalies under one name."""
    normal = {name: n for name, n in found.items() if _class_of(name) == NORMAL_CLASS}
    return {**normal, whole: sum(found.values()) - sum(normal.values())}


def _class_of(name: str) -> str:
    return name.rpartition("/")[2]


def check_counts(
    records: Iterable[ImageRecord],
    expected: Mapping[str, int],
    findings: Findings,
    *,
    fewest: Mapping[str, int | None] | None = None,
    strict: bool,
    remedy: str,
) -> None:
    """Compare counts with the expected ones; a difference is a warning, or a problem if strict.

    Args:
        records: The images.
        expected: Numbers of images by ``split/class``, such as ``"train/good"``; see
            :func:`differences`.
        findings: Takes the outcome.
        fewest: The least number of images of each anomaly class; None where none is known.
        strict: Whether a difference is a problem.
        remedy: What to do about it.
    """
    found = Counter(f"{record.split}/{record.class_name}" for record in records)
    least = {f"test/{name}": number for name, number in (fewest or {}).items()}
    differing = differences(found, expected, least)
    if differing:
        texts = [f"{name} {number} instead of {wanted}" for name, number, wanted in differing]
        report = findings.problem if strict else findings.warning
        report(f"unexpected numbers of images: {', '.join(texts)}; {remedy}")
