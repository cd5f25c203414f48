from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_trees import write_image
from PIL import Image

import osadbench
import osadbench.datasets.images as image_set
from osadbench.datasets import ImageSet
from osadbench.errors import DataError
from osadbench.images import cut_region, decode, file_digest, resize
from osadbench.types import LazyImages

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def save(path: Path, values: Any, mode: str | None = None) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        image = Image.fromarray(values)
        (image if mode is None else image.convert(mode)).save(path)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.BMP", "a.tif", "a.npy"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, name: str) -> None:
    image = decode(save(tmp_path / name, GREY))
    assert image.shape == (6, 8, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat(GREY[..., None], 3, axis=2))


def test_a_part_of_an_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    whole = decode(path)
    assert cut_region(whole, "a.png") is whole
    part = cut_region(whole, "a.png#xywh=2,1,4,3")
    np.testing.assert_array_equal(part[..., 0], GREY[1:4, 2:6])
    np.testing.assert_array_equal(part, decode(Path(f"{path}#xywh=2,1,4,3")))
    told = r"cannot read image a.png#xywh=5,0,4,3: the image of 8x6 pixels has no region \(5, 0, 4"
    with pytest.raises(DataError, match=told):
        cut_region(whole, "a.png#xywh=5,0,4,3")


def test_commands_read_a_large_image_without_a_word(
    tmp_path: Path, run_python: Callable[..., str]
) -> None:
    code = """
import sys, warnings
from pathlib import Path
from PIL import Image
from osadbench.cli import main
from osadbench.errors import DataError
from osadbench.images import decode
if sys.argv[2:]:
    main(sys.argv[2:])
with warnings.catch_warnings(record=True) as caught:
    for most in (40, 20):
        Image.MAX_IMAGE_PIXELS = most
        try:
            print(decode(Path(sys.argv[1])).shape, len(caught))
        except DataError:
            print("refused", len(caught))
"""
    path = Path(osadbench.__file__).parents[1]
    image = str(save(tmp_path / "a.png", GREY))
    # A program that reads by the library alone hears what it would hear of Pillow.
    assert run_python(code, image, path=path).splitlines() == ["(6, 8, 3) 1", "refused 1"]
    lines = run_python(code, image, "--version", path=path).splitlines()
    assert lines[1:] == ["(6, 8, 3) 0", "refused 0"]


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    np.testing.assert_array_equal(decode(save(tmp_path / "a.png", values)), values[..., :3])


def test_palette_and_cmyk_become_rgb(tmp_path: Path) -> None:
    red = np.zeros((6, 8, 3), dtype=np.uint8)
    red[..., 0] = 255
    np.testing.assert_array_equal(decode(save(tmp_path / "p.png", red, "P")), red)
    np.testing.assert_array_equal(decode(save(tmp_path / "c.tif", red, "CMYK")), red)


@pytest.mark.parametrize("name", ["deep.png", "deep.npy"])
def test_sixteen_bits_are_divided_by_257(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 257, 65535]], dtype=np.uint16)
    assert decode(save(tmp_path / name, values))[0, :, 0].tolist() == [0, 1, 255]


def test_npy_takes_the_first_three_channels_and_scales_unit_floats(tmp_path: Path) -> None:
    six = np.random.default_rng(0).integers(0, 256, (4, 4, 6)).astype(np.float32)
    np.testing.assert_array_equal(decode(save(tmp_path / "six.npy", six)), six[..., :3])
    unit = np.array([[0.0, 0.5, 1.0]])
    assert decode(save(tmp_path / "unit.npy", unit))[0, :, 0].tolist() == [0, 128, 255]


def test_the_content_counts_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "really_png.jpg"
    Image.fromarray(GREY).save(path, format="PNG")
    np.testing.assert_array_equal(decode(path)[..., 0], GREY)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (np.zeros((2, 2, 2, 2), np.uint8), "expected numbers"),
        (np.array([[{}]], dtype=object), "allow_pickle"),
        (np.array([[np.nan]]), "NaN"),
        (np.array([[300.5]]), "above 255"),
        (np.array([[-1.0, 5.0]]), "below 0"),
        (np.zeros((0, 3), np.uint8), "expected numbers"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, values: Any, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        decode(save(tmp_path / "bad.npy", values))


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    whole = write_image(tmp_path / "whole.png", size=(64, 64)).read_bytes()
    for name, data in {"cut.png": whole[:200], "empty.png": b"", "empty.npy": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"cannot read image .*{name}"):
            decode(tmp_path / name)
    with pytest.raises(DataError, match="is gone"):
        decode(tmp_path / "absent.png")


def test_resize_is_square_and_antialiased() -> None:
    board = np.indices((64, 32)).sum(axis=0) % 2 * np.uint8(255)
    small = resize(np.repeat(board[..., None], 3, axis=2).astype(np.uint8), 8)
    assert small.shape == (8, 8, 3)
    assert np.abs(small.astype(int) - 128).max() < 16


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, list[str]]:
    paths = [f"{index}.png" for index in range(6)]
    for index, path in enumerate(paths):
        write_image(tmp_path / "data" / path, size=(20 + index, 30))
    return tmp_path / "data", paths


Opened = Callable[..., ImageSet]


@pytest.fixture
def opened(folder: tuple[Path, list[str]]) -> Opened:
    root, paths = folder
    identities = [file_digest(root / path) for path in paths]
    return lambda cache=None: ImageSet(root, paths, identities, cache)


@pytest.mark.parametrize("cached", [False, True])
def test_image_set_resizes_in_the_order_asked_for(
    tmp_path: Path, opened: Opened, cached: bool
) -> None:
    images = opened(tmp_path / "cache" if cached else None)
    assert isinstance(images, LazyImages) and len(images) == 6
    for _ in range(2):
        batch = images.resized(16, [4, 0, 4, -1])
        assert batch.shape == (4, 16, 16, 3) and batch.dtype == np.uint8
        for row, index in zip(batch, [4, 0, 4, 5], strict=True):
            np.testing.assert_array_equal(row, resize(images[index], 16))
    assert images[-1].shape == (30, 25, 3)
    with pytest.raises(IndexError):
        images[6]


def test_the_cache_serves_other_processes_and_other_orders(
    tmp_path: Path, opened: Opened, folder: tuple[Path, list[str]]
) -> None:
    expected = opened(tmp_path / "cache").resized(16, range(6))
    for path in folder[1]:
        (folder[0] / path).unlink()
    images = pickle.loads(pickle.dumps(opened(tmp_path / "cache")))
    np.testing.assert_array_equal(images.resized(16, [5, 2]), expected[[5, 2]])
    with pytest.raises(DataError, match="is gone"):
        images.resized(17, [0])


def test_pickles_carry_no_pixels(tmp_path: Path, opened: Opened) -> None:
    images = opened(tmp_path / "cache")
    images.resized(64, range(6))
    assert len(pickle.dumps(images)) < 2000


def test_small_batches_fill_whole_blocks(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_set, "BLOCK", 4)
    images = opened(tmp_path / "cache")
    for index in range(6):
        images.resized(16, [index])
    assert len(list(tmp_path.glob("cache/images/16-*/*.npy"))) == 2


def test_images_of_the_same_content_share_a_row(
    tmp_path: Path, folder: tuple[Path, list[str]]
) -> None:
    identity = file_digest(folder[0] / "0.png")
    images = ImageSet(folder[0], ["0.png", "0.png"], [identity, identity], tmp_path / "cache")
    first, second = images.resized(16, [0, 1])
    np.testing.assert_array_equal(first, second)
    (shard,) = tmp_path.glob("cache/images/*/*.npy")
    assert len(np.load(shard)) == 1


def test_a_damaged_cache_is_rebuilt(tmp_path: Path, opened: Opened) -> None:
    expected = opened(tmp_path / "cache").resized(16, range(6))
    (shard,) = tmp_path.glob("cache/images/*/*.npy")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 255
    shard.write_bytes(data)
    for _ in range(2):
        np.testing.assert_array_equal(opened(tmp_path / "cache").resized(16, range(6)), expected)


def test_image_sets_show_nothing_but_identities(opened: Opened) -> None:
    images = opened()
    public = {name for name in dir(images) if not name.startswith("_")}
    assert public == {"identities", "resized"}
    assert repr(images) == "ImageSet(6 images)"
