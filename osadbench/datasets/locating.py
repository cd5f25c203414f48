"""Where a dataset stands: as its site gives it, or in the layout of MVTec AD."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from osadbench.datasets.copied import copied_dataset
from osadbench.datasets.folder import Folder
from osadbench.datasets.listing import is_category, is_folder, list_categories, list_folder
from osadbench.datasets.nested import find_below
from osadbench.datasets.packed import packed_below, packed_text
from osadbench.datasets.places import place_text
from osadbench.errors import DataError, first_of

__all__ = ["LocatedDataset"]

#: Categories that one message names; the rest are counted.
SHOWN = 5
#: Folders in a folder that is looked into because one of them was given.
MOST_FOLDERS = 100


class LocatedDataset(Folder):
    """A dataset that is looked for in its raw form first, then in the layout of MVTec AD.

    Class attributes:
        layout: What the download's folder holds, in a line.
        download: How to get it, in a line or two.
        counts: By category, the number of images of each ``split/class`` that the complete download
            gives. Where no source gives each anomaly class, ``test/*`` is that of all anomalies.
    """

    layout: ClassVar[str]
    download: ClassVar[str]
    counts: ClassVar[Mapping[str, Mapping[str, int]]]

    _is_raw = False

    @abstractmethod
    def find_raw(self, base: Path) -> Path | None:
        """Return the folder of the download, at or below a folder; None where it is not there.

        Args:
            base: What the user gave, or ``OSADBENCH_DATA_DIR/<name>``.

        Raises:
            DataError: It is another release, which would give other numbers.
        """

    @property
    def is_raw(self) -> bool:
        """Whether the dataset stands here as downloaded, rather than in the layout of MVTec AD.

        Raises:
            DataError: It is not here.
        """
        # The search for the root finds it out.
        _ = self.root
        return self._is_raw

    def _bases(self) -> list[Path]:
        """Return the folders to look in, best first."""
        base = self._given_root or self._data_dir()
        return [] if base is None else [base]

    def _locate(self) -> Path:
        bases = self._bases()
        for base in bases:
            found = self._find(base)
            if found is not None:
                self._refuse_others(found)
                return found
        if not bases:
            raise DataError(
                f"{self.name} is not here: give its folder by --data-root DIR, or put it at "
                f"{place_text(self.name)}; {self.download}"
            )
        expected = f"no {self.name} in {bases[0]}: expected {self.layout}"
        reason = packed_below(bases[0]) or self._part_text(bases[0])
        if reason is not None:
            raise DataError(f"{expected}, but {reason}")
        raise DataError(f"{expected}, or the layout of MVTec AD; {self.download}")

    def _find(self, base: Path) -> Path | None:
        """Return the folder of the dataset at or below a folder; note in which form it is there."""
        try:
            raw = self.find_raw(base) if is_folder(base) else None
        except DataError as error:
            packed = packed_text(base)
            if packed is None:
                raise
            raise DataError(f"{error}; {packed}") from error
        self._is_raw = raw is not None
        return raw or self._find_layout(base)

    def _part_text(self, base: Path) -> str | None:
        """Return in words of which folder above a folder is a part; None where it is of none."""
        for above in base.resolve().parents[:2] if is_folder(base) else ():
            with suppress(DataError):
                # No download has more, and a search below them all could take minutes.
                is_small = len(list_folder(above)[0]) <= MOST_FOLDERS
                if is_small and self._find(above) == above:
                    self._refuse_others(above)
                    return f"it is a part of the one in {above}: give that folder"
        return None

    def _find_layout(self, base: Path) -> Path | None:
        """Return the folder that holds categories in the layout of MVTec AD, None without any."""
        if list_categories(base):
            return base
        # Further down only categories of its own name tell that they are of this dataset.
        names = list(filter(None, self.counts))
        return find_below(base, lambda place: any(is_category(place / name) for name in names))

    def _refuse_others(self, folder: Path) -> None:
        """Refuse a folder that is another dataset's."""
        remedy = f"give {self.name}'s own folder by --data-root DIR"
        copied = copied_dataset(folder)
        # A copy of what was read as a folder can be a copy of anything.
        if copied not in (None, self.name, Folder.name):
            raise DataError(f"{folder} is a copy of {copied}, not of {self.name}: {remedy}")
        if self._is_raw or not self.counts:
            return
        found = list_categories(folder)
        if not {*found} & {*self.counts}:
            raise DataError(
                f"expected {_categories_text(self.counts)} of {self.name} in {folder}, got "
                f"{_categories_text(found)}: {remedy}"
            )


def _categories_text(names: Iterable[str]) -> str:
    """Return the names of categories in words, the first of many."""
    listed = sorted(names)
    if listed == [""]:
        return "the folders train and test"
    return f"the categories {first_of(listed, SHOWN)}"
