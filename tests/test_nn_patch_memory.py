"""The memory of patches, against small cases worked out by hand and slow, plain computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from osadbench.nn.patch_memory import (
    describe,
    draw_candidates,
    greedy_coreset,
    nearest,
    reweighted_score,
)
from osadbench.nn.random import isolated_rng


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_a_patch_is_described_by_the_average_of_its_neighbourhood() -> None:
    ramp = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    [patches] = describe([ramp])
    # The corner has four neighbours in the map, an edge six, the centre nine.
    assert patches[..., 0].flatten().tolist() == pytest.approx([3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7])


def test_channels_of_all_stages_stand_side_by_side() -> None:
    first, second = torch.randn(2, 3, 6, 8), torch.randn(2, 5, 3, 4)
    patches = describe([first, second])
    assert patches.shape == (2, 6, 8, 8)
    assert patches.is_contiguous()
    torch.testing.assert_close(patches[..., :3], describe([first]))
    constant = describe([first, torch.full((2, 5, 1, 1), 0.5)])
    torch.testing.assert_close(constant[..., 3:], torch.full((2, 6, 8, 5), 0.5))


def bilinear(values: Tensor, height: int, width: int) -> Tensor:
    """Resize ``(h, w)`` by interpolating between the centres of its cells, flat at the border."""

    def at(place: int, size: int, old: int) -> tuple[int, int, float]:
        where = min(max((place + 0.5) * old / size - 0.5, 0), old - 1)
        low = int(where)
        return low, min(low + 1, old - 1), where - low

    result = torch.empty(height, width)
    for y in range(height):
        top, bottom, down = at(y, height, values.shape[0])
        for x in range(width):
            left, right, across = at(x, width, values.shape[1])
            above = (1 - across) * values[top, left] + across * values[top, right]
            below = (1 - across) * values[bottom, left] + across * values[bottom, right]
            result[y, x] = (1 - down) * above + down * below
    return result


def test_later_stages_are_brought_to_the_firsts_size_after_pooling() -> None:
    second = torch.arange(12.0).view(1, 1, 3, 4) ** 2
    pooled = describe([second])[0, ..., 0]
    [patches] = describe([torch.zeros(1, 1, 7, 8), second])
    torch.testing.assert_close(patches[..., 1], bilinear(pooled, 7, 8))


def test_an_images_patches_do_not_depend_on_its_batch() -> None:
    maps = [torch.randn(5, 4, 8, 8), torch.randn(5, 6, 4, 4)]
    together = describe(maps)
    for index in range(5):
        assert torch.equal(describe([scale[[index]] for scale in maps])[0], together[index])


def numbered(*sizes: int) -> list[Tensor]:
    """Return batches of images of 3x4 patches; a patch holds its image's number and its own."""
    n = sum(sizes)
    image = torch.arange(n).view(n, 1, 1).expand(n, 3, 4)
    patch = torch.arange(12).view(1, 3, 4).expand(n, 3, 4)
    both = torch.stack([image, patch], dim=3).float()
    return [both[sum(sizes[:k]) : sum(sizes[: k + 1])] for k in range(len(sizes))]


@pytest.mark.parametrize("most", [0, 60, 1000])
def test_all_patches_are_candidates_where_there_are_few(most: int) -> None:
    patches, total = draw_candidates(numbered(2, 3), n_images=5, most=most)
    assert total == 60
    wanted = [(image, patch) for image in range(5) for patch in range(12)]
    assert [tuple(row) for row in patches.int().tolist()] == wanted


@pytest.mark.parametrize(("most", "each"), [(25, 5), (22, 5), (1, 1)])
def test_candidates_are_drawn_evenly_from_the_images(most: int, each: int) -> None:
    patches, total = draw_candidates(numbered(2, 3), n_images=5, most=most)
    assert total == 60, "the size of the memory is a share of all patches"
    images, places = patches.int().T.tolist()
    assert [images.count(number) for number in range(5)] == [each] * 5
    assert len(set(zip(images, places, strict=True))) == 5 * each, "no patch comes twice"


def test_a_seed_decides_the_candidates() -> None:
    def drawn(seed: int) -> Tensor:
        with isolated_rng(seed):
            return draw_candidates(numbered(2, 3), n_images=5, most=25)[0]

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    places = {int(place) for seed in range(30) for place in drawn(seed)[:, 1]}
    assert places == set(range(12))


def k_centres(points: Tensor, first: int, size: int) -> list[int]:
    """Return what greedy k-centre selection chooses, by measuring all distances every time."""
    chosen = [first]
    while len(chosen) < size:
        distances = [
            min(math.dist(point, points[c].tolist()) for c in chosen) for point in points.tolist()
        ]
        chosen.append(int(np.argmax(distances)))
    return chosen


@pytest.mark.parametrize("size", [1, 2, 10, 29])
def test_the_coreset_is_that_of_greedy_k_centre_selection(size: int) -> None:
    points = torch.randn(30, 4)
    starts = set()
    for seed in range(4):
        with isolated_rng(seed):
            chosen = greedy_coreset(points, size, projection=4).tolist()
        assert chosen == k_centres(points, chosen[0], size)
        starts.add(chosen[0])
    assert len(starts) > 1, "the first one is drawn"


def test_distances_are_measured_after_a_random_projection() -> None:
    points = torch.randn(30, 12)
    with isolated_rng(1):
        chosen = greedy_coreset(points, 8, projection=3).tolist()
    with isolated_rng(1):
        projected = points @ torch.randn(12, 3)
    assert chosen == k_centres(projected, chosen[0], 8)
    assert chosen != k_centres(points, chosen[0], 8)


def test_the_projection_about_keeps_what_is_covered() -> None:
    centres = 20 * torch.randn(8, 200)
    points = centres.repeat_interleave(10, dim=0) + torch.randn(80, 200)
    chosen = greedy_coreset(points, 8, projection=64)
    assert sorted((chosen // 10).tolist()) == list(range(8)), "one of every heap"


@pytest.mark.parametrize("size", [5, 6, 100])
def test_a_coreset_as_large_as_all_is_all(size: int) -> None:
    assert greedy_coreset(torch.randn(5, 3), size, projection=2).tolist() == list(range(5))


def test_alike_patches_are_chosen_once_each() -> None:
    points = torch.cat([torch.zeros(10, 3), torch.ones(10, 3)])
    chosen = greedy_coreset(points, 12, projection=8).tolist()
    assert len(set(chosen)) == 12
    assert {index // 10 for index in chosen[:2]} == {0, 1}


def test_nearest_is_the_euclidean_distance_to_the_nearest() -> None:
    patches, memory = torch.randn(40, 6), torch.randn(25, 6)
    distances, indices = nearest(patches, memory)
    every = torch.cdist(patches.double(), memory.double())
    assert indices.tolist() == every.argmin(dim=1).tolist()
    assert distances.tolist() == pytest.approx(every.amin(dim=1).tolist(), rel=1e-5)


def test_small_distances_between_large_patches_keep_their_digits() -> None:
    memory = 100 + torch.randn(5, 50)
    patches = memory[[3, 0, 3]] + torch.tensor([[0.0], [1e-3], [0.5]])
    distances, indices = nearest(patches, memory)
    assert indices.tolist() == [3, 0, 3]
    step = math.sqrt(50)
    assert distances[0] == 0
    assert distances[1].item() == pytest.approx(1e-3 * step, rel=0.01)
    assert distances[2].item() == pytest.approx(0.5 * step, rel=1e-4)


#: The second patch is the farther one; nearest to it is the 3, with 1, 0 and 10 around it.
MEMORY = torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [10.0, 0.0]])
PATCHES = torch.tensor([[0.5, 0.0], [5.0, 0.0], [3.2, 0.0]])


@pytest.mark.parametrize(
    ("neighbours", "distances"), [(2, [2, 4]), (3, [2, 4, 5]), (4, [2, 4, 5, 5])]
)
def test_the_score_is_lowered_where_the_memory_is_dense(
    neighbours: int, distances: list[float]
) -> None:
    weight = 1 - math.exp(2) / sum(math.exp(distance) for distance in distances)
    score = reweighted_score(PATCHES, MEMORY, neighbours)
    assert score == pytest.approx(2 * weight, abs=1e-6)


def test_the_score_in_numbers() -> None:
    # 2 (1 - e^2 / (e^2 + e^4)) = 2 (1 - 1 / (1 + e^2))
    assert reweighted_score(PATCHES, MEMORY, 2) == pytest.approx(1.761594, abs=1e-6)


def test_equal_distances_share_the_weight() -> None:
    around = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    # All of the four lie one away: each has a quarter of the softmax.
    assert reweighted_score(torch.zeros(1, 2), around, 4) == pytest.approx(0.75)


def test_the_score_of_what_is_in_the_memory_is_zero() -> None:
    assert reweighted_score(MEMORY[[1, 3]], MEMORY, 3) == 0


def test_far_patches_have_finite_scores() -> None:
    far = reweighted_score(PATCHES + 1e5, MEMORY, 3)
    assert math.isfinite(far)
    assert 0 < far < 1.5e5
    assert reweighted_score(PATCHES + 2e5, MEMORY, 3) > far


def test_the_order_of_patches_and_memory_does_not_matter() -> None:
    patches, memory = torch.randn(20, 5), torch.randn(30, 5)
    score = reweighted_score(patches, memory, 9)
    assert reweighted_score(patches.flip(0), memory, 9) == pytest.approx(score, rel=1e-6)
    assert reweighted_score(patches, memory.flip(0), 9) == pytest.approx(score, rel=1e-6)
