"""Which images tables are of, where one name has stood for several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from osadbench.types import Record

__all__ = ["ambiguous_places", "images_text", "manifests_of", "places_of"]


def ambiguous_places(manifests: Iterable[tuple[str, str]]) -> set[str]:
    """Return the datasets and categories that stand for images of several manifests.

    Args:
        manifests: Datasets or categories, each with the digest of a manifest that it was met with.
    """
    counts = Counter(place for place, _ in set(manifests))
    return {place for place, n in counts.items() if n > 1}


def places_of(blocks: Iterable[Sequence[Record]]) -> Iterator[tuple[str, str]]:
    """Yield dataset or category and manifest of blocks of records that share these."""
    return ((block[0].place, block[0].manifest) for block in blocks)


def manifests_of(records: Iterable[Record]) -> dict[str, str]:
    """Return the digests of the manifests of one table's records, by dataset or category."""
    # Thousands of records share a split.
    splits = {(r.dataset, r.category, id(r.split)): r for r in records}.values()
    return {r.place: r.manifest for r in sorted(splits, key=lambda record: record.place)}


def images_text(manifests: Mapping[str, str], ambiguous: Collection[str]) -> str:
    """Return such as ``images of manifest 1a2b3c4d (elpv)``; nothing where names say enough.

    Args:
        manifests: The digests of a table's manifests by dataset or category.
        ambiguous: The datasets and categories that stand for several among all tables.
    """
    named = [
        f"{digest[:8] or 'unknown'} ({place})"
        for place, digest in manifests.items()
        if place in ambiguous
    ]
    return f"images of manifest {', '.join(named)}" if named else ""
