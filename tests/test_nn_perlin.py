from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

import osadbench.nn.perlin
from osadbench.nn.augment import pseudo_anomaly
from osadbench.nn.perlin import TRANSFORMS, perlin, perlin_mask, perlin_noise, transformed

module = osadbench.nn.perlin
SIZES = [(64, 64), (40, 96), (32, 32), (4, 4)]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def random_image(height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def test_noise_of_one_cell_is_perlins(monkeypatch: pytest.MonkeyPatch) -> None:
    # All gradients point to the right: at x the corners give x and x - 1, mixed by the fade.
    monkeypatch.setattr(torch, "rand", lambda *size: torch.zeros(size))
    noise = perlin_noise(3, 4, 1, 1)
    x = (torch.arange(4) + 0.5) / 4
    fade = 6 * x**5 - 15 * x**4 + 10 * x**3
    wanted = math.sqrt(2) * (x - fade)
    assert torch.allclose(noise, wanted.expand(3, 4), atol=1e-6)
    assert noise[0, 0].item() == pytest.approx(0.154075, abs=1e-6)


def test_noise_has_its_gradients_at_the_nodes() -> None:
    # Next to a node the noise is the node's gradient times the way from it.
    torch.manual_seed(3)
    angle = 2 * math.pi * torch.rand(3, 3)
    torch.manual_seed(3)
    pixels, cell = 400, 200
    noise = perlin_noise(pixels, pixels, 2, 2)
    step = 0.5 / cell
    wanted = math.sqrt(2) * step * (math.cos(angle[1, 1]) + math.sin(angle[1, 1]))
    assert noise[cell, cell].item() == pytest.approx(wanted, abs=1e-4)


def test_noise_is_smooth_centred_and_bounded() -> None:
    noise = perlin_noise(256, 256, 8, 4)
    assert noise.shape == (256, 256)
    assert noise.abs().max() <= 1.001
    assert noise.mean().abs() < 0.1
    assert noise.std() > 0.2
    assert noise.diff(dim=0).abs().max() < 0.15
    assert noise.diff(dim=1).abs().max() < 0.15


@pytest.mark.parametrize("size", SIZES)
def test_a_mask_is_never_empty_and_never_full(size: tuple[int, int]) -> None:
    shares = torch.stack([perlin_mask(*size).float().mean() for _ in range(40)])
    assert shares.min() > 0
    assert shares.max() < 0.8


def test_masks_have_many_grids() -> None:
    cells = {module._cells(256) for _ in range(200)}
    assert cells == {1, 2, 4, 8, 16, 32}
    assert {module._cells(4000) for _ in range(200)} == cells
    assert {module._cells(64) for _ in range(100)} == {1, 2, 4, 8}
    assert {module._cells(7) for _ in range(20)} == {1}


@pytest.mark.parametrize("size", SIZES)
def test_form_range_and_the_input_are_kept(size: tuple[int, int]) -> None:
    image = random_image(*size)
    before = image.clone()
    for _ in range(10):
        result = perlin(image)
        assert result.shape == image.shape
        assert result.dtype == image.dtype
        assert 0 <= result.min() <= result.max() <= 1
    assert torch.equal(image, before)


def test_only_the_mask_changes_and_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[10:20, 30:50] = True
    monkeypatch.setattr(module, "perlin_mask", lambda height, width: mask)
    image = random_image()
    for _ in range(10):
        changed = (perlin(image) != image).any(dim=0)
        assert not (changed & ~mask).any()
        assert changed[mask].float().mean() > 0.95


def test_the_blend_leaves_at_most_four_fifths(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.zeros(3, 16, 16)
    monkeypatch.setattr(module, "perlin_mask", lambda h, w: torch.ones(h, w, dtype=torch.bool))
    monkeypatch.setattr(module, "transformed", torch.ones_like)
    shares = torch.stack([perlin(image).mean() for _ in range(300)])
    assert 0.2 <= shares.min() < 0.25
    assert 0.95 < shares.max() <= 1


def test_every_transform_changes_an_image_and_keeps_its_range() -> None:
    image = random_image() * 0.8 + 0.1
    for name, transform in TRANSFORMS.items():
        results = [transform(image) for _ in range(20)]
        # A small angle may leave all pixels where they are.
        assert sum(torch.equal(result, image) for result in results) <= 2, name
        for result in results:
            assert result.shape == image.shape, name
            assert 0 <= result.min() <= result.max() <= 1, name


def test_three_different_transforms_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def noted(image: Tensor, name: str) -> Tensor:
        names.append(name)
        return image

    for name in TRANSFORMS:
        monkeypatch.setitem(TRANSFORMS, name, partial(noted, name=name))
    for _ in range(60):
        names.clear()
        transformed(random_image())
        assert len(set(names)) == len(names) == 3


def test_a_seed_decides() -> None:
    image = random_image()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(perlin(image))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_it_is_a_kind_of_pseudo_anomaly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osadbench.nn.augment.random_rotation", lambda image: image)
    image = random_image()
    torch.manual_seed(4)
    made = pseudo_anomaly(image, "perlin")
    torch.manual_seed(4)
    assert torch.equal(made, perlin(image))
