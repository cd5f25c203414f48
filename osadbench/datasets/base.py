"""The contract of a dataset: categories, manifests, images."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from osadbench.datasets.findings import Findings
from osadbench.datasets.images import ImageSet
from osadbench.datasets.listing import is_folder
from osadbench.datasets.manifest_cache import load_reading, save_reading
from osadbench.datasets.masks import read_mask
from osadbench.datasets.places import data_folder, place_text
from osadbench.datasets.reading import Reading
from osadbench.errors import DataError, UsageError, did_you_mean
from osadbench.params import Params as BaseParams
from osadbench.params import digest, resolve_params
from osadbench.types import ImageRecord, Manifest

__all__ = ["Dataset", "LoaderOptions"]

logger = logging.getLogger("osadbench")

#: Raised when the same files give another manifest, or other warnings.
VERSION = 3


class LoaderOptions(BaseParams):
    """What every dataset takes beside its own parameters.

    Attributes:
        on_duplicate: What to do about an image that stands in both train and test, or as normal
            and as anomaly: ``"error"``, ``"warn"``, or ``"drop"`` (keep one of each content).
        strict_counts: Whether unexpected numbers of images are an error rather than a warning.
        split: How normals that no site has split are: ``"paper"``, a quarter of the images to the
            test set, as in the papers, or ``"group"``, a quarter of the groups (strips, parts, ...)
            whose images are much alike. No published number has the latter.
    """

    on_duplicate: Literal["error", "warn", "drop"] = "error"
    strict_counts: bool = False
    split: Literal["paper", "group"] = "paper"


class Dataset(ABC):
    """Base of all datasets. The constructor only stores; files are read when asked for.

    Class attributes:
        name: Name on the command line.
        title: Full name.
        task: What the images show and what counts as an anomaly.
        licence: Licence of the images.
        citation: Where the dataset was published.
        source: Where to get it.
        paper_image_size: Side length in pixels of the largest scale under the paper preset, and
            under a frozen one whose own sizes are larger; the second scale is half of it. The
            papers say 448 or 224 "according to the original resolution" and give no list; the
            assignment is ours.
        default_outliers: Dataset that external outliers come from where the user names none.
        default_on_duplicate: What ``on_duplicate`` is where the user says nothing.
        Params: The dataset's own parameters.

    Args:
        root: The dataset's folder; None for ``OSADBENCH_DATA_DIR/<name>``, or for where else the
            dataset can be found.
        on_duplicate: See :class:`LoaderOptions`; None for the dataset's own choice.
        strict_counts: See :class:`LoaderOptions`.
        split: See :class:`LoaderOptions`.
        cache: Folder that keeps manifests and resized images; None keeps nothing.
        **params: Fields of ``Params``.

    Raises:
        ParameterError: Unknown parameters or wrong values.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    task: ClassVar[str]
    licence: ClassVar[str]
    citation: ClassVar[str]
    source: ClassVar[str]
    paper_image_size: ClassVar[int]
    default_outliers: ClassVar[str | None] = None
    default_on_duplicate: ClassVar[str] = "error"
    Params: ClassVar[type[BaseParams]] = BaseParams

    def __init__(
        self,
        root: Path | None = None,
        *,
        on_duplicate: str | None = None,
        strict_counts: bool = False,
        split: str = "paper",
        cache: Path | None = None,
        **params: Any,
    ) -> None:
        options = {
            "on_duplicate": on_duplicate or self.default_on_duplicate,
            "strict_counts": strict_counts,
            "split": split,
        }
        self.options = resolve_params(LoaderOptions, self.name, options)
        self.params = resolve_params(self.Params, self.name, params)
        self.cache = None if cache is None else Path(cache)
        self._given_root = None if root is None else Path(root)
        self._warned: set[str] = set()

    @cached_property
    def root(self) -> Path:
        """Folder that the manifests' paths are relative to.

        Raises:
            DataError: The dataset is not there.
        """
        return self._locate()

    def _locate(self) -> Path:
        folder = self._given_root or self._data_dir()
        if folder is None:
            raise DataError(
                f"{self.name} needs a folder of images: give --data-root DIR, or put it at "
                f"{place_text(self.name)}"
            )
        if not is_folder(folder):
            raise DataError(f"no folder {folder}: give {self.name}'s folder by --data-root DIR")
        return folder

    def _data_dir(self) -> Path | None:
        """Return ``OSADBENCH_DATA_DIR/<name>`` if the variable is set and the folder is there."""
        folder = data_folder(self.name)
        return folder if folder is not None and is_folder(folder) else None

    @abstractmethod
    def categories(self) -> list[str]:
        """Return the names of the categories, sorted; ``[""]`` where there are none.

        Raises:
            DataError: The dataset is not there.
        """

    @abstractmethod
    def manifest(self, category: str = "") -> Manifest:
        """Return one category's images.

        Raises:
            UsageError: There is no such category.
            DataError: The data are missing or against the rules; all problems are listed.
        """

    def manifests(self, category: str | None = None) -> list[Manifest]:
        """Return the manifest of one category, or of all of them for None."""
        wanted = self.categories() if category is None else [category]
        return [self.manifest(name) for name in wanted]

    def images(self, manifest: Manifest, paths: Sequence[str]) -> ImageSet:
        """Return images by their paths, in the order of the paths, decoded when asked for.

        Raises:
            DataError: A path is not in the manifest.
        """
        unknown = [path for path in paths if path not in manifest.by_path]
        if unknown:
            raise DataError(
                f"{manifest.name} has no image {unknown[0]!r}: use the manifest's paths"
            )
        return self.image_set(paths, [manifest.by_path[path].sha256 for path in paths])

    def image_set(self, paths: Sequence[str], identities: Sequence[str]) -> ImageSet:
        """Return images by their paths and digests, as the manifests have them."""
        return ImageSet(self.root, paths, identities, self.cache)

    @property
    def marked_above(self) -> int:
        """The value above which a pixel of a mask is anomalous."""
        # Masks in the layout of MVTec AD have been found to hold 0 and 1, or 0 and 255.
        return 0

    def mask(self, image: ImageRecord) -> npt.NDArray[np.bool_]:
        """Return which pixels of an image its mask marks, bool ``(H, W)``.

        Raises:
            DataError: The image has no mask, or a file of it is gone or damaged.
        """
        if image.mask is None:
            raise DataError(f"{self.name} has no mask of {image.path!r}: ask for one that has")
        return read_mask(self.root, image.mask, self.marked_above)

    def check_category(self, category: str) -> None:
        """Check that a category is one of the dataset's.

        Raises:
            UsageError: It is not; the nearest names are offered.
        """
        known = self.categories()
        if category in known:
            return
        if known == [""]:
            raise UsageError(f"{self.name} has no categories here: drop '/{category}'")
        if not category:
            raise UsageError(
                f"{self.name} has {len(known)} categories: name one, such as {self.name}/{known[0]}"
            )
        raise UsageError(
            f"{self.name} has no category {category!r}: {did_you_mean(category, known)}"
        )

    def _cached(
        self, category: str, fingerprint: str, read: Callable[[Findings], Reading]
    ) -> Manifest:
        """Return a stored manifest, or read and store it; log its warnings once."""
        stored = self._stored_at(category, fingerprint)
        reading = load_reading(stored) if stored is not None else None
        if reading is None:
            findings = Findings()
            reading = read(findings)
            findings.raise_problems(self.root / category)
            if stored is not None:
                save_reading(stored, reading)
        self.log_warnings(reading)
        return reading.manifest

    def log_warnings(self, reading: Reading) -> None:
        """Log what a reading warns of, but nothing twice."""
        for warning in reading.warnings:
            text = f"{reading.manifest.name}: {warning}"
            if text not in self._warned:
                logger.warning("%s", text)
            self._warned.add(text)

    def _stored_at(self, category: str, fingerprint: str) -> Path | None:
        if self.cache is None:
            return None
        key = [VERSION, self.name, category, str(self.root.resolve()), fingerprint]
        key += [self.options, self.params]
        return self.cache / "manifests" / f"{self.name}-{digest(key)[:32]}.json"
