"""Which images tables are of, where one name has stood for several."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from osadbench.types import Record

__all__ = ["ambiguous_places", "images_text", "manifests_of"]


def ambiguous_places(blocks: Iterable[Sequence[Record]]) -> set[str]:
    """Return the datasets and categories that stand for images of several manifests.

    Args:
        blocks: Records in blocks that share place and split, or in blocks of one.
    """
    manifests: dict[str, set[str]] = {}
    for block in blocks:
        manifests.setdefault(block[0].place, set()).add(block[0].manifest)
    return {place for place, found in manifests.items() if len(found) > 1}


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
