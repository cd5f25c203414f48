"""What a converted folder's ``manifest.json`` says that the layout of MVTec AD cannot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from osadbench.datasets.findings import Findings
from osadbench.datasets.listing import is_file
from osadbench.datasets.prepared import FILE
from osadbench.datasets.reading import ImageFacts
from osadbench.types import ImageRecord

__all__ = ["Copy", "copied_dataset", "read_copy"]


class Copy(NamedTuple):
    """What is known of one category of a converted folder.

    Attributes:
        options: The options of the conversion, as in
            :class:`osadbench.datasets.base.LoaderOptions`.
        groups: By path and SHA-256 of a file, the group of its image.
        images: SHA-256 of each image that was written, by its path.
        masks: Paths of the masks that were written.
    """

    options: Mapping[str, Any]
    groups: Mapping[tuple[str, str], str]
    images: Mapping[str, str]
    masks: Sequence[str]

    @property
    def has_all(self) -> bool:
        """Whether it has the images of the download, split as in the papers."""
        return not (self.options["split"] == "group" or self.options["on_duplicate"] == "drop")

    def compare(
        self, root: Path, facts: Mapping[str, ImageFacts], findings: Findings, *, strict: bool
    ) -> None:
        """Compare the files with those that were written.

        Args:
            root: Where the paths start.
            facts: Facts of the readable images by path.
            findings: Takes the outcome.
            strict: Whether a difference is a problem rather than a warning.
        """
        files = [*self.images, *self.masks]
        there = [path for path in self.images if path in facts]
        lists = {
            "gone": [path for path in files if path not in facts and not is_file(root / path)],
            "changed": [path for path in there if facts[path].sha256 != self.images[path]],
            "added": [path for path in facts if path not in self.images],
        }
        texts = [f"{len(paths)} {what} ({paths[0]})" for what, paths in lists.items() if paths]
        if texts:
            report = findings.problem if strict else findings.warning
            report(
                f"the files are not those that {FILE} lists: {', '.join(texts)}; convert the "
                "dataset anew"
            )

    def grouped(self, records: Iterable[ImageRecord]) -> tuple[ImageRecord, ...]:
        """Return records with their groups; a file that has been changed is in none."""
        return tuple(replace(r, group=self.groups.get((r.path, r.sha256))) for r in records)


def copied_dataset(root: Path) -> str | None:
    """Return the name of the dataset that a folder was converted from, None where it has none.

    Args:
        root: The folder of the categories.
    """
    try:
        values = json.loads((root / FILE).read_bytes())
        # Others name a file so, too.
        return str(values["dataset"]) if "converter" in values else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def read_copy(root: Path, dataset: str, category: str, findings: Findings) -> Copy | None:
    """Return what a folder's ``manifest.json`` says, None where it has none of this dataset.

    Args:
        root: The folder of the categories.
        dataset: Name of the dataset that it must be a copy of.
        category: Name of the category.
        findings: Takes what the download was found to be: remarks and images left out.
    """
    try:
        values = json.loads((root / FILE).read_bytes())
        if values["dataset"] != dataset:
            return None
        return _parse(values, category, findings)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        findings.warning(
            f"{FILE} cannot be read, which says what the images were taken from and what was left "
            "out: convert the dataset anew"
        )
        return None


def _parse(values: Mapping[str, Any], category: str, findings: Findings) -> Copy:
    options = {key: values["options"][key] for key in ("split", "on_duplicate")}
    prefix = f"{category}/" if category else ""
    written = [image for image in values["images"] if image["path"].startswith(prefix)]
    groups = {
        (image["path"], image["sha256"]): image["group"]
        for image in written
        if image["group"] is not None
    }
    images = {image["path"]: image["sha256"] for image in written}
    masks = [image["mask"] for image in written if image["mask"] is not None]
    # What was left out stood in the category's folder.
    left_out = [one for one in values["exclusions"] if one["source"].startswith(prefix)]
    for one in left_out:
        note = findings.omit if one.get("by_definition") else findings.exclude
        note(one["source"], one["reason"])
    for remark in values.get("remarks", ()):
        if remark["category"] == category:
            findings.warning(remark["text"])
    return Copy(options, groups, images, masks)
