from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from osadbench.methods.dra import DRAParams
from osadbench.nn.augment import (
    PSEUDO_SOURCES,
    cutmix,
    cutpaste_scar,
    pseudo_anomaly,
    random_rotation,
    uniform,
)
from osadbench.nn.random import isolated_rng

Augmentation = Callable[[Tensor], Tensor]
SIZES = [(32, 32), (40, 96), (96, 40), (4, 4)]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osadbench.nn.augment._jitter", lambda patch: patch)


def noise(height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def numbered(height: int, width: int) -> Tensor:
    """Return an image whose every pixel differs, 0 to 1."""
    values = torch.arange(height * width, dtype=torch.float64).view(1, height, width)
    return (values / (height * width)).expand(3, -1, -1).clone()


def changed_box(image: Tensor, result: Tensor) -> tuple[int, int, int, int] | None:
    """Return top, left, height and width of the box around all changed pixels."""
    changed = (image != result).any(dim=0)
    if not changed.any():
        return None
    rows = torch.nonzero(changed.any(dim=1)).flatten()
    columns = torch.nonzero(changed.any(dim=0)).flatten()
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) - top + 1, int(columns[-1]) - left + 1


AUGMENTATIONS: dict[str, Augmentation] = {
    "rotation": random_rotation,
    "cutmix": cutmix,
    "scar": cutpaste_scar,
    **{source: lambda image, s=source: pseudo_anomaly(image, s) for source in PSEUDO_SOURCES},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("size", SIZES)
def test_shape_range_and_the_input_are_kept(name: str, size: tuple[int, int]) -> None:
    image = noise(*size)
    before = image.clone()
    for _ in range(8):
        result = AUGMENTATIONS[name](image)
        assert result.shape == image.shape
        assert 0 <= result.min() <= result.max() <= 1
    assert torch.equal(image, before)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_seed_decides(name: str) -> None:
    results = []
    for seed in (1, 1, 2):
        with isolated_rng(seed):
            results.append(AUGMENTATIONS[name](noise()))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_rotation_takes_the_nearest_pixel_and_leaves_corners_black() -> None:
    image = torch.full((3, 48, 48), 0.25)
    image[:, :, 24:] = 0.75
    for _ in range(20):
        result = random_rotation(image)
        assert set(result.flatten().tolist()) <= {0.0, 0.25, 0.75}
        assert (result[:, 16:32, 16:32] > 0).all(), "black comes in from the corners only"
    with isolated_rng(2):
        angle = uniform(-180, 180)
    assert 20 < abs(angle) % 90 < 70
    with isolated_rng(2):
        corners = random_rotation(image)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 0).all()


def test_angles_are_uniform_over_the_circle(monkeypatch: pytest.MonkeyPatch) -> None:
    angles: list[float] = []

    def note(image: Tensor, angle: float, *args: Any, **options: Any) -> Tensor:
        angles.append(angle)
        assert not args and not options, "torchvision's defaults: nearest, same size, black"
        return image

    monkeypatch.setattr("osadbench.nn.augment.functional.rotate", note)
    for _ in range(2000):
        random_rotation(noise(4, 4))
    counts = torch.histc(torch.tensor(angles), bins=8, min=-180, max=180)
    assert counts.sum() == 2000
    assert counts.min() > 190


@pytest.mark.parametrize("size", [(64, 64), (40, 96), (96, 40)])
def test_cutmix_pastes_a_rectangle_of_the_image_itself(
    no_jitter: None, size: tuple[int, int]
) -> None:
    height, width = size
    image = numbered(height, width)
    for _ in range(60):
        result = cutmix(image)
        box = changed_box(image, result)
        if box is None:  # pasted where it came from
            continue
        top, left, h, w = box
        patch = result[:, top : top + h, left : left + w]
        origin = round(patch[0, 0, 0].item() * height * width)
        y, x = divmod(origin, width)
        assert torch.equal(patch, image[:, y : y + h, x : x + w])


def test_cutmix_changes_up_to_fifteen_percent() -> None:
    image, areas, aspects = noise(), [], []
    for _ in range(400):
        box = changed_box(image, cutmix(image))
        assert box is not None
        h, w = box[2:]
        # Each side is rounded to whole pixels.
        assert 0 < h * w <= 0.15 * 64 * 64 + (h + w) / 2
        areas.append(h * w / 64**2)
        aspects.append(math.log(w / h))
    assert sum(areas) / 400 == pytest.approx((0.02 + 0.15) / 2, abs=0.008)
    assert min(areas) < 0.03
    assert max(areas) > 0.14
    assert sum(aspects) / 400 == pytest.approx(0, abs=0.12)
    assert max(aspects) == pytest.approx(math.log(1 / 0.3), abs=0.15)


def test_cutmix_pastes_anywhere() -> None:
    image = noise()
    boxes = [box for _ in range(300) if (box := changed_box(image, cutmix(image)))]
    assert min(top for top, *_ in boxes) <= 2
    assert max(top + h for top, _, h, _ in boxes) >= 62
    assert min(left for _, left, *_ in boxes) <= 2
    assert max(left + w for _, left, _, w in boxes) >= 62


@pytest.mark.parametrize("make", [cutmix, cutpaste_scar])
def test_the_patchs_colours_are_shaken_by_a_tenth(make: Augmentation) -> None:
    grey = torch.full((3, 64, 64), 0.5)
    levels = []
    for _ in range(200):
        result = make(grey)
        patch = result[result != grey]
        assert ((patch >= 0.45 - 1e-6) & (patch <= 0.55 + 1e-6)).all()
        levels += patch[:1].tolist()
    assert min(levels) < 0.46
    assert max(levels) > 0.54


@pytest.mark.parametrize(
    ("size", "scale"), [((256, 256), 1.0), ((512, 600), 2.0), ((64, 96), 0.25)]
)
def test_a_scar_is_a_thin_strip_scaled_with_the_image(size: tuple[int, int], scale: float) -> None:
    image, areas = noise(*size), []
    for _ in range(60):
        result = cutpaste_scar(image)
        box = changed_box(image, result)
        assert box is not None
        h, w = box[2:]
        # No longer than the diagonal of the largest strip, no more pixels than it has.
        assert max(h, w) <= math.hypot(16 * scale + 1, 25 * scale + 1) + 2
        areas.append(int((image != result).any(dim=0).sum()))
        assert areas[-1] <= 1.1 * (16 * scale + 1) * (25 * scale + 1)
    mean = 9 * 17.5 * scale**2
    assert sum(areas) / 60 == pytest.approx(mean, rel=0.35)


def test_a_scar_copies_pixels_of_the_image(no_jitter: None) -> None:
    image = numbered(128, 128)
    known = set(image[0].flatten().tolist())
    turned = 0
    for _ in range(30):
        result = cutpaste_scar(image)
        assert set(result[0].flatten().tolist()) <= known
        changed = image[0] != result[0]
        box = changed_box(image, result)
        assert box is not None
        turned += int(changed.sum()) < box[2] * box[3]
    assert turned > 20, "most strips lie askew, so that they don't fill their box"


def test_damage_comes_before_rotation() -> None:
    for source, damage in (("cutmix", cutmix), ("cutpaste-scar", cutpaste_scar)):
        with isolated_rng(5):
            result = pseudo_anomaly(noise(), source)
        with isolated_rng(5):
            wanted = random_rotation(damage(noise()))
        with isolated_rng(5):
            other = damage(random_rotation(noise()))
        assert torch.equal(result, wanted)
        assert not torch.equal(result, other)


def test_cutpaste_mix_takes_either_with_equal_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    black, white = torch.zeros(3, 4, 4), torch.ones(3, 4, 4)
    monkeypatch.setattr("osadbench.nn.augment.cutmix", lambda image: black)
    monkeypatch.setattr("osadbench.nn.augment.cutpaste_scar", lambda image: white)
    taken = [pseudo_anomaly(noise(4, 4), "cutpaste-mix").max().item() for _ in range(400)]
    assert set(taken) == {0.0, 1.0}
    assert sum(taken) == pytest.approx(200, abs=40)


def test_dra_offers_its_papers_sources_and_external_images() -> None:
    offered = get_args(DRAParams.model_fields["pseudo"].annotation)
    assert set(offered) == {*PSEUDO_SOURCES, "external"} - {"perlin"}
