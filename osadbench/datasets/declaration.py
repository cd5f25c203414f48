"""What a dataset's class says of it, without a look at any file: ``osadbench data info``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from osadbench.datasets.base import Dataset
from osadbench.datasets.counting import ANY_CLASS
from osadbench.datasets.places import place_text
from osadbench.datasets.raw import RawDataset
from osadbench.types import NORMAL_CLASS

__all__ = [
    "counts_text",
    "declaration",
    "declaration_lines",
    "number_text",
    "placing",
    "plain_docstring",
]


def declaration(cls: type[Dataset]) -> dict[str, Any]:
    """Return all that a dataset's class declares, as plain JSON values.

    Datasets without a download of their own have no ``layout``, ``categories`` and the like.
    """
    plain = ["name", "title", "task", "source", "licence", "citation", "paper_image_size"]
    plain += ["default_outliers", "default_on_duplicate"]
    values: dict[str, Any] = {key: getattr(cls, key) for key in plain}
    values["about"] = plain_docstring(cls)
    values["params"] = list(cls.Params.model_fields)
    if issubclass(cls, RawDataset):
        values |= {key: getattr(cls, key) for key in ("layout", "download", "group")}
        values["archives"] = [archive._asdict() for archive in cls.archives]
        values["mask_threshold"] = cls.mask_threshold if cls.has_masks else None
        values["counts_are_known"] = cls.counts_are_known
        names = list(dict.fromkeys([*cls.counts, *cls.paper_counts]))
        values["categories"] = [_category(cls, name) for name in names]
    return values


def plain_docstring(of: Any) -> str:
    """Return something's docstring without the marks that are there for documentation tools."""
    return re.sub(r":\w+:`~?([^`]+)`|``([^`]+)``", r"\1\2", inspect.getdoc(of) or "")


def _category(cls: type[RawDataset], name: str) -> dict[str, Any]:
    counts = dict(cls.counts.get(name, {}))
    counted = [folder.partition("/")[2] for folder in counts]
    classes = [part for part in counted if part not in (NORMAL_CLASS, ANY_CLASS)]
    fewest = cls.fewest.get(name, {})
    classes += fewest
    # With one class there is nothing unknown beside it.
    known = cls.known.get(name, tuple(classes) if len(classes) > 1 else ())
    papers = cls.paper_counts.get(name)
    return {
        "name": name,
        "papers": None if papers is None else papers._asdict(),
        "counts": counts,
        "classes": [
            {
                "name": part,
                "images": counts.get(f"test/{part}"),
                "at_least": fewest.get(part),
                "known": part in known,
                "aliases": [alias for alias, real in cls.aliases.items() if real == part],
            }
            for part in dict.fromkeys([*classes, *known])
        ],
    }


def declaration_lines(values: dict[str, Any]) -> Iterator[str]:
    """Yield a declaration in words, a line or more for each part of it."""
    yield from [*values["about"].splitlines(), ""]
    for key in ("title", "task", "licence", "citation", "source"):
        yield f"{key}: {values[key]}"
    yield f"image size: {values['paper_image_size']} px under the paper preset (our assignment)"
    if values["default_outliers"]:
        yield f"external outliers: {values['default_outliers']}, unless others are named"
    if values["default_on_duplicate"] != "error":
        yield f"copies in train and test: {values['default_on_duplicate']}, unless --on-duplicate"
    if "layout" in values:
        yield from _raw_lines(values)


def _raw_lines(values: dict[str, Any]) -> Iterator[str]:
    threshold = values["mask_threshold"]
    yield "masks: " + ("none" if threshold is None else f"pixels above {threshold} are anomalous")
    group = values["group"]
    yield "groups: " + (f"{group}s, kept whole by --split group" if group else "not known")
    yield f"layout: {values['layout']}, or the layout of MVTec AD"
    yield from placing(values)
    if not values["counts_are_known"]:
        yield "counts: derived, not counted"
    for category in values["categories"]:
        yield from _category_lines(category)


def placing(values: dict[str, Any], folder: Path | None = None) -> Iterator[str]:
    """Yield how to get the dataset and where to put it.

    Args:
        values: Its declaration.
        folder: Where the user wants it; None for where it is looked for.
    """
    name = values["name"]
    yield f"download: {values['download']}"
    for archive in values["archives"]:
        yield f"  {archive['url']}  sha256 {archive['sha256']}"
    if values["archives"]:
        yield f"  osadbench data fetch {name} downloads and unpacks it"
    if folder is not None:
        yield f"place: {folder}"
    else:
        yield f"place: {place_text(name)}, or a folder given by --data-root"


def counts_text(counts: dict[str, int]) -> str:
    """Return counts by ``split/class`` as the papers print them: ``"1131/377/715"``.

    These are normal images to train on and to test on, and anomalies.
    """
    normal = [counts.get(f"{split}/{NORMAL_CLASS}", 0) for split in ("train", "test")]
    return "/".join(map(str, [*normal, sum(counts.values()) - sum(normal)]))


def _category_lines(category: dict[str, Any]) -> Iterator[str]:
    yield f"{category['name'] or 'images'} (train normal/test normal/anomalous):"
    if category["counts"]:
        yield f"  expected: {counts_text(category['counts'])}"
    if category["papers"]:
        yield f"  papers: {'/'.join(map(str, category['papers'].values()))}"
    width = max((len(part["name"]) for part in category["classes"]), default=0)
    for part in category["classes"]:
        is_counted = part["images"] is not None
        count = part["images"] if is_counted else "-"
        notes = [] if is_counted else [number_text(part)]
        notes += [] if part["known"] else ["not taken as known class"]
        notes += [f"also {', '.join(part['aliases'])}"] if part["aliases"] else []
        yield f"  {part['name']:<{width}}  {count:>5}  {'; '.join(notes)}".rstrip()


def number_text(part: dict[str, Any]) -> str:
    """Return a class's declared number of images in words, by its entry in a declaration."""
    if part["images"] is not None:
        return str(part["images"])
    return (
        "no source gives its number" if part["at_least"] is None else f"{part['at_least']} or more"
    )
