"""Every raw form of a dataset, as its site gives it, can be listed, checked and converted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import raw_trees_1
import raw_trees_2
from image_trees import write_elpv
from raw_tools import register

from osadbench.datasets import dataset_class, dataset_names
from osadbench.datasets.aitex import Aitex
from osadbench.datasets.brainmri import BrainMri
from osadbench.datasets.check import check_dataset
from osadbench.datasets.elpv import Elpv
from osadbench.datasets.headct import HeadCt
from osadbench.datasets.hyper_kvasir import HyperKvasir
from osadbench.datasets.inventory import look
from osadbench.datasets.lag import Lag
from osadbench.datasets.magnetic_tile import MagneticTile
from osadbench.datasets.mastcam import Mastcam
from osadbench.datasets.mvtec import Mvtec
from osadbench.datasets.optical import Optical
from osadbench.datasets.prepare import prepare
from osadbench.datasets.raw import RawDataset
from osadbench.datasets.sdd import Sdd
from osadbench.datasets.visa import Visa
from osadbench.errors import DataError
from osadbench.types import Manifest

FORMS: dict[type[RawDataset], Callable[[Path], Path]] = {
    Aitex: raw_trees_2.write_aitex,
    BrainMri: raw_trees_2.write_brainmri,
    Elpv: write_elpv,
    HeadCt: raw_trees_2.write_headct,
    HyperKvasir: raw_trees_1.write_hyper_kvasir,
    MagneticTile: raw_trees_1.write_magnetic_tile,
    Mastcam: raw_trees_1.write_mastcam,
    Mvtec: raw_trees_1.write_mvtec,
    Optical: raw_trees_2.write_optical,
    Sdd: raw_trees_2.write_sdd,
    Visa: raw_trees_1.write_visa,
}
SOURCES_OF_OUTLIERS = (Lag,)


def members(manifests: list[Manifest]) -> Counter[tuple[str, str, str, bool]]:
    return Counter(
        (manifest.category, record.split, record.class_name, record.mask is not None)
        for manifest in manifests
        for record in manifest.records
    )


def test_every_raw_form_is_tested() -> None:
    registered = {cls for cls in map(dataset_class, dataset_names()) if issubclass(cls, RawDataset)}
    assert registered <= {*FORMS, *SOURCES_OF_OUTLIERS}


@pytest.mark.parametrize("cls", FORMS, ids=lambda cls: str(cls.name))
def test_a_converted_dataset_is_read_as_the_raw_one(cls: type[RawDataset], tmp_path: Path) -> None:
    FORMS[cls](tmp_path / "raw")
    before = cls(tmp_path / "raw", on_duplicate="warn")
    prepare(before, tmp_path / "new")
    after = cls(tmp_path / "new", on_duplicate="warn")
    assert after.categories() == before.categories()
    assert members(after.manifests()) == members(before.manifests())
    for one, other in zip(after.manifests(), before.manifests(), strict=True):
        assert one.known_classes == other.known_classes and one.aliases == other.aliases
    assert not prepare(before, tmp_path / "new").is_new


@pytest.mark.parametrize("cls", FORMS, ids=lambda cls: str(cls.name))
def test_a_copy_in_two_more_folders_is_found(cls: type[RawDataset], tmp_path: Path) -> None:
    (tmp_path / "given" / "texts").mkdir(parents=True)
    FORMS[cls](tmp_path / "given" / "upload" / "archive")
    assert cls(tmp_path / "given").root == tmp_path / "given" / "upload" / "archive"
    (tmp_path / "given" / "upload").rename(tmp_path / "given" / "texts" / "upload")
    with pytest.raises(DataError, match=f"no {cls.name} in "):
        _ = cls(tmp_path / "given").root


#: A folder, by dataset, that somebody may take for the dataset itself.
PARTS: dict[type[RawDataset], str] = {
    Aitex: "Mask_images",
    BrainMri: "yes",
    Elpv: "images",
    HeadCt: "head_ct/head_ct",
    HyperKvasir: "upper-gi-tract/anatomical-landmarks",
    MagneticTile: "MT_Free/Imgs",
    Mastcam: "test_novel/drt",
    Mvtec: "carpet/train",
    Sdd: "kos01",
    Visa: "candle",
}


@pytest.mark.parametrize("cls", PARTS, ids=lambda cls: str(cls.name))
def test_a_part_of_a_dataset_is_not_the_whole(cls: type[RawDataset], tmp_path: Path) -> None:
    FORMS[cls](tmp_path / "raw")
    with pytest.raises(DataError) as told:
        _ = cls(tmp_path / "raw" / PARTS[cls]).root
    hint = f", but it is a part of the one in {(tmp_path / 'raw').resolve()}: give that folder"
    assert str(told.value).endswith(hint)
    for other in ("nowhere", "../empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match="or the layout of MVTec AD; "):
            _ = cls(tmp_path / "raw" / other).root


@pytest.mark.parametrize("cls", FORMS, ids=lambda cls: str(cls.name))
def test_a_raw_dataset_is_described_and_counted(
    cls: type[RawDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FORMS[cls](tmp_path / cls.name)
    dataset = cls(tmp_path / cls.name, on_duplicate="warn")
    text = check_dataset(dataset)
    assert f"\n{cls.name}" in text and "general, 1-shot" in text
    assert "warning: unexpected numbers of images" in text
    register(monkeypatch, cls)
    entry = look(cls.name, tmp_path)
    images = sum(len(manifest.records) for manifest in dataset.manifests())
    assert (entry.state, entry.images) == ("incomplete", images)
