"""The split of normals that have none: three quarters to train on, one to test on; its groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from osadbench.datasets.findings import Findings
from osadbench.datasets.raw_image import RawImage
from osadbench.types import ImageRecord

__all__ = ["SEED", "SHARE", "Groups", "count_groups", "split_images", "test_quarter"]

#: As in the conversion scripts of DRA's public code.
SHARE, SEED = 0.25, 42


def test_quarter(
    paths: Sequence[str], findings: Findings, *, groups: Sequence[str | None] | None = None
) -> set[str]:
    """Return the normals that go to the test set.

    Of n images these are ceil(n / 4), by the very call of the public conversion scripts. Those give
    it an unsorted listing; here the order is that of the paths given.

    Args:
        paths: The normal images, in a fixed order.
        findings: Takes the problem of fewer than two images, or groups.
        groups: By image, what it was taken from; a quarter of the groups then goes to the test set,
            whole. An image without a group is one of its own. Not in the papers.
    """
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    names = [group or path for path, group in zip(paths, groups or paths, strict=True)]
    if len(set(names)) < 2:
        what = "normal images" if groups is None else "groups of normal images"
        findings.problem(
            f"expected 2 or more {what} to split, got {len(set(names))}: get the dataset anew"
        )
        return set()
    if groups is None:
        return set(train_test_split(list(paths), test_size=SHARE, random_state=SEED)[1])
    splitter = GroupShuffleSplit(n_splits=1, test_size=SHARE, random_state=SEED)
    _, test = next(splitter.split(paths, groups=names))
    return {paths[index] for index in test}


def split_images(images: Sequence[RawImage], findings: Findings, *, by_group: bool) -> list[str]:
    """Return the split of each image, ``"train"`` or ``"test"``.

    Anomalies go to the test set; normals whose site does not say are split by :func:`test_quarter`.

    Args:
        images: The images, normals in the order in which they are split.
        findings: Takes the problem of too few normals.
        by_group: Whether normals of one group stay together, which the papers' do not.
    """
    free = [image for image in images if image.is_normal and image.split is None]
    test: set[str] = set()
    if free:
        groups = [image.group for image in free] if by_group else None
        test = test_quarter([image.path for image in free], findings, groups=groups)
    return [
        image.split or ("test" if image.path in test or not image.is_normal else "train")
        for image in images
    ]


class Groups(NamedTuple):
    """Groups of images, such as the patches of one strip.

    Attributes:
        all: Number of groups.
        torn: Of these, those with images to train on and images to test on.
    """

    all: int
    torn: int


def count_groups(records: Iterable[ImageRecord]) -> Groups:
    """Count the groups of a dataset's images; an image without a group is in none."""
    splits: dict[str, set[str]] = {}
    for record in records:
        if record.group is not None:
            splits.setdefault(record.group, set()).add(record.split)
    return Groups(len(splits), sum(len(found) > 1 for found in splits.values()))
