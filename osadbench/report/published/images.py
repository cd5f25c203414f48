"""Whether results are of the images that a dataset has by its declaration, as the papers' are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from osadbench.types import Record, place_name

__all__ = ["DeclaredImages", "image_notes"]


class DeclaredImages(NamedTuple):
    """Numbers of images that a dataset or category has by its declaration.

    Attributes:
        train_normals: Normal images to train on.
        others: All other images, which are the most that can be tested on.
    """

    train_normals: int
    others: int


def image_notes(
    records: Iterable[Record], declared: Mapping[str, DeclaredImages]
) -> tuple[str, ...]:
    """Return a note on the results that were made on other images than declared, or none.

    Args:
        records: Finished results of a table.
        declared: By dataset or ``dataset/category``; those that are not there are not compared.
    """
    found: dict[str, dict[str, None]] = {}
    for record in sorted(records, key=lambda record: record.place):
        for place, text in _differences(record, declared):
            found.setdefault(place, {})[text] = None
    if not found:
        return ()
    places = "; ".join(f"{place}: {', '.join(texts)}" for place, texts in found.items())
    return (
        "made on other images than the dataset has by its declaration, so that differences from "
        f"the paper say little: {places}",
    )


def _differences(
    record: Record, declared: Mapping[str, DeclaredImages]
) -> Iterator[tuple[str, str]]:
    """Yield each place whose images are others, with what is different."""
    split = record.split
    own = record.place
    trained = {place_name(record.dataset, record.source or record.category): _normals(split)}
    if record.source:
        # It goes on with the normal images of its own.
        trained[own] = split["adaptation"].get("normals")
    for place, number in trained.items():
        wanted = declared.get(place)
        if wanted is not None and number is not None and number != wanted.train_normals:
            yield place, f"{number} normal training images instead of {wanted.train_normals}"
    tested, wanted = split.get("test"), declared.get(own)
    if wanted is not None and tested is not None and tested > wanted.others:
        yield own, f"{tested} test images of {wanted.others} or fewer"


def _normals(split: Mapping[str, int]) -> int | None:
    trained = split.get("train_normals")
    # Anomalies that are trained on as if they were normal stand among them.
    return None if trained is None else trained - split.get("unlabelled_anomalies", 0)
