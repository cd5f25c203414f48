"""A documentation page for each dataset, from what its class declares.

``python -m osadbench.datasets.pages docs/datasets`` writes them; a test tells when they are old.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from osadbench.datasets import dataset_class, dataset_names
from osadbench.datasets.declaration import counts_text, declaration, number_text

__all__ = ["index", "page", "write_pages"]


def write_pages(folder: Path) -> None:
    """Write ``NAME.md`` for every dataset, and ``README.md`` that lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in dataset_names():
        (folder / f"{name}.md").write_text(page(name), encoding="utf-8")
    (folder / "README.md").write_text(index(), encoding="utf-8")


def index() -> str:
    """Return the page that lists the datasets, in Markdown."""
    rows = []
    for name in dataset_names():
        values = declaration(dataset_class(name))
        categories = values.get("categories", [])
        totals = [_total(categories, key) for key in ("counts", "papers")]
        rows.append([f"[{name}]({name}.md)", values["title"], *totals, values["licence"]])
    head = ["name", "dataset", "normal train/normal test/anomalous", "in the papers", "licence"]
    lines = [
        "# Datasets",
        "",
        "Written by `python -m osadbench.datasets.pages docs/datasets` from the datasets' own",
        "declarations. No dataset comes with osadbench; `osadbench data list` says which are here.",
        "",
        *_table(head, rows),
    ]
    return "\n".join(lines) + "\n"


def page(name: str) -> str:
    """Return a dataset's page, in Markdown."""
    values = declaration(dataset_class(name))
    lines = [f"# {values['title']}", "", values["about"], "", *_about_table(values)]
    if "layout" in values:
        lines += ["", "## How to get it", "", *_placing(values)]
        lines += ["", "## Images", "", *_images(values)]
    return "\n".join(lines) + "\n"


def _about_table(values: Mapping[str, Any]) -> Iterator[str]:
    rows = [["name", f"`{values['name']}`"]]
    rows += [[key, values[key]] for key in ("task", "licence", "citation", "source")]
    rows.append(["image size", f"{values['paper_image_size']} px under the paper preset (ours)"])
    if "layout" in values:
        threshold = values["mask_threshold"]
        masks = "none" if threshold is None else f"pixels above {threshold} are anomalous"
        rows.append(["masks", masks])
        rows.append(["groups", f"{values['group']}s" if values["group"] else "not known"])
    rows.append(["external outliers", values["default_outliers"] or "none unless named"])
    rows.append(["copies in train and test", values["default_on_duplicate"]])
    if values["params"]:
        names = ", ".join(f"`{name}`" for name in values["params"])
        rows.append(["parameters", f"{names}; see `osadbench describe {values['name']}`"])
    return _table(["", ""], rows)


def _placing(values: Mapping[str, Any]) -> Iterator[str]:
    name = values["name"]
    yield f"- Download: {values['download']}."
    for archive in values["archives"]:
        yield f"- `osadbench data fetch {name}` gets {archive['url']}, sha256 {archive['sha256']}."
    yield f"- Expected: {values['layout']}; or the layout of MVTec AD."
    yield (
        f"- Place: any folder, named by `--data-root`, or `{name}` below the folder "
        "`OSADBENCH_DATA_DIR`."
    )
    yield from ["", "```bash", f"osadbench data check {name} --data-root DIR", "```"]


def _images(values: Mapping[str, Any]) -> Iterator[str]:
    categories = values["categories"]
    if not categories:
        yield "No numbers are expected."
        return
    if not values["counts_are_known"]:
        yield from ["The numbers were derived, not counted in a download.", ""]
    head = ["category", "normal train/normal test/anomalous", "in the papers"]
    rows = [
        [one["name"] or "-", _count(one, "counts"), _count(one, "papers")] for one in categories
    ]
    yield from _table(head, rows)
    yield ""
    head = ["category", "class", "images", "known class", "also called"]
    yield from _table(head, [row for one in categories for row in _class_rows(one)])


def _class_rows(category: Mapping[str, Any]) -> Iterator[list[str]]:
    for part in category["classes"]:
        known = "yes" if part["known"] else "no"
        yield [
            category["name"] or "-",
            part["name"],
            number_text(part),
            known,
            ", ".join(part["aliases"]),
        ]


def _count(category: Mapping[str, Any], key: str) -> str:
    counts = category[key]
    if not counts:
        return "-"
    return counts_text(counts) if key == "counts" else "/".join(map(str, counts.values()))


def _total(categories: Sequence[Mapping[str, Any]], key: str) -> str:
    """Return the sum of the counts of all categories, a dash where there are none."""
    texts = [_count(one, key) for one in categories]
    if not texts or "-" in texts:
        return "-"
    columns = zip(*(text.split("/") for text in texts), strict=True)
    return "/".join(str(sum(map(int, column))) for column in columns)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a page for each dataset.")
    parser.add_argument("folder", type=Path, help="folder of the pages, such as docs/datasets")
    write_pages(parser.parse_args().folder)
