from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from osadbench.images import DECODER, array_digest, resize
from osadbench.nn.augment import pseudo_anomaly, random_rotation
from osadbench.nn.backbones import Backbone, frozen_backbone
from osadbench.nn.features import (
    BATCH,
    PLAIN,
    FrozenFeatures,
    View,
    to_tensor,
)
from osadbench.nn.images import ArrayImages, as_lazy_images
from osadbench.nn.random import isolated_rng
from osadbench.nn.sampler import NORMAL, OUTLIER, PSEUDO, SEEN
from osadbench.nn.view_pool import FrozenTrainingSet
from osadbench.params import digest
from osadbench.seeds import derive_seed
from osadbench.settings import Engine, engine
from osadbench.taps import LAST, Tap
from osadbench.testing import toy_images
from osadbench.types import LazyImages

CPU = torch.device("cpu")
ARRAYS = toy_images(10, 10, 48)[0]
IMAGES = ArrayImages(ARRAYS)
VIEWS = [PLAIN, View("rotate", 0), View("rotate", 1), View("cutmix", 0), View("cutpaste-scar", 2)]
#: 11 requests: a batch and a part of one.
REQUESTS = [(index, view) for index in (0, 3) for view in VIEWS] + [(7, PLAIN)]


@pytest.fixture
def settings(tmp_path: Path) -> Engine:
    cache = str(tmp_path / "cache")
    return engine("smoke", device="cpu", cache_dir=cache, normal_views=0)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what the backbone was given, one entry per forward pass."""
    shapes: list[tuple[int, ...]] = []
    forward = Backbone.forward

    def counted(self: Backbone, images: Tensor, *taps: Any) -> list[Tensor]:
        shapes.append(tuple(images.shape))
        return forward(self, images, *taps)

    monkeypatch.setattr(Backbone, "forward", counted)
    return shapes


def rows(settings: Engine, requests: Any = REQUESTS, images: LazyImages = IMAGES) -> list[Tensor]:
    return FrozenFeatures(settings).rows(images, requests)


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


def write_weights(path: Path, settings: Engine) -> None:
    state = frozen_backbone(settings, CPU).network.state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, path)


def folders(settings: Engine) -> set[str]:
    assert settings.cache_dir is not None
    return {path.name for path in Path(settings.cache_dir, "features").iterdir()}


def test_rows_are_half_precision_maps_per_scale(settings: Engine) -> None:
    large, small = rows(settings)
    assert large.dtype == small.dtype == torch.float16
    assert large.shape == (11, 64, 2, 2)
    assert small.shape == (11, 64, 1, 1)


def test_plain_rows_are_the_backbones_maps(settings: Engine) -> None:
    backbone = frozen_backbone(settings, CPU)
    pixels = to_tensor(np.stack([resize(ARRAYS[index], 64) for index in range(BATCH)]))
    with torch.no_grad():
        wanted = [backbone(scale)[0].half() for scale in backbone.pyramid(pixels, settings)]
    assert equal(rows(settings, [(index, PLAIN) for index in range(BATCH)]), wanted)


@pytest.mark.parametrize("view", [View("rotate", 4), View("cutmix", 2), View("cutpaste-scar", 0)])
def test_a_views_draws_depend_on_the_image_and_its_number_alone(
    settings: Engine, view: View
) -> None:
    identity = array_digest(ARRAYS[2])
    seed = derive_seed(0, axis="view", identity=identity, kind=view.kind, number=view.number)
    image = to_tensor(np.stack([resize(ARRAYS[2], 64)]))[0]
    with isolated_rng(seed):
        turned = random_rotation(image) if view.kind == "rotate" else pseudo_anomaly(image, view[0])
    backbone = frozen_backbone(settings, CPU)
    batch = torch.cat([turned[None], torch.zeros(BATCH - 1, 3, 64, 64)])
    with torch.no_grad():
        wanted = [backbone(scale)[0][:1].half() for scale in backbone.pyramid(batch, settings)]
    torch.manual_seed(1)
    assert equal(rows(settings, [(2, view)]), wanted)
    alone = ArrayImages(ARRAYS[2:3])
    assert equal(rows(settings.model_copy(update={"cache_dir": None}), [(0, view)], alone), wanted)


def test_views_differ_by_kind_number_and_image(settings: Engine) -> None:
    views = rows(settings)[0]
    assert len({tuple(row.flatten().tolist()) for row in views}) == len(REQUESTS)


def test_the_global_random_state_is_left_alone(settings: Engine) -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    rows(settings)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_second_reading_computes_nothing(settings: Engine, passes: list[tuple[int, ...]]) -> None:
    first = rows(settings)
    assert passes
    passes.clear()
    assert equal(rows(settings), first)
    assert not passes


def test_only_what_is_missing_is_computed(settings: Engine, passes: list[tuple[int, ...]]) -> None:
    features = FrozenFeatures(settings)
    features.compute(IMAGES, REQUESTS)
    passes.clear()
    whole = features.rows(IMAGES, [*REQUESTS, (5, PLAIN), (5, PLAIN)])
    assert passes == [(BATCH, 3, 64, 64), (BATCH, 3, 32, 32)]
    assert torch.equal(whole[0][-1], whole[0][-2])


def test_rows_come_in_the_order_of_the_requests(settings: Engine) -> None:
    first = rows(settings)
    order = [10, 0, 5, 5, 3]
    again = rows(settings, [REQUESTS[index] for index in order])
    assert equal(again, [scale[order] for scale in first])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_do_not_depend_on_neighbours(settings: Engine, precision: str) -> None:
    memory = settings.model_copy(update={"cache_dir": None, "precision": precision})
    together = rows(memory)
    single = [rows(memory, [request]) for request in REQUESTS]
    assert equal([torch.cat(scale) for scale in zip(*single, strict=True)], together)
    backwards = rows(memory, REQUESTS[::-1])
    assert equal([scale.flip(0) for scale in backwards], together)


def test_every_pass_has_the_same_number_of_images(
    settings: Engine, passes: list[tuple[int, ...]]
) -> None:
    rows(settings)
    assert {shape[0] for shape in passes} == {BATCH}
    assert len(passes) == 4


def test_what_changes_features_has_a_folder_of_its_own(settings: Engine, tmp_path: Path) -> None:
    rows(settings, [(0, PLAIN)])
    seen = folders(settings)
    assert len(seen) == 2
    path = tmp_path / "net.safetensors"
    write_weights(path, settings)
    # A scale is made from the first one: where that has another size, all have a new folder.
    changes: list[tuple[dict[str, Any], int]] = [
        ({"backbone": "test_resnet"}, 2),
        ({"weights": str(path)}, 2),
        ({"image_sizes": (96, 32)}, 2),
        ({"image_sizes": (64, 48)}, 1),
        ({"pyramid": "nearest"}, 2),
        ({"precision": "bf16"}, 2),
    ]
    for change, n_new in changes:
        rows(settings.model_copy(update=change), [(0, PLAIN)])
        new = folders(settings) - seen
        assert len(new) == n_new, change
        seen |= new
    assert "weights" not in settings.identity(), "which is why the file's hash names the folder"


TAPS = (Tap(8), Tap(16, max_pool=True))


def test_every_tap_has_a_folder_of_its_own(settings: Engine) -> None:
    FrozenFeatures(settings).rows(IMAGES, [(0, PLAIN)])
    last = folders(settings)
    FrozenFeatures(settings, TAPS).rows(IMAGES, [(0, PLAIN)])
    assert len(folders(settings) - last) == 4
    FrozenFeatures(settings, [Tap(16)]).rows(IMAGES, [(0, PLAIN)])
    assert len(folders(settings) - last) == 6, "pooled and unpooled maps don't mix"
    FrozenFeatures(settings, [*TAPS, LAST]).rows(IMAGES, [(0, PLAIN)])
    assert len(folders(settings)) == 8, "a tap's folder does not depend on the others"


def test_a_taps_folder_holds_its_maps_whoever_computed_them(
    settings: Engine, passes: list[tuple[int, ...]]
) -> None:
    both = FrozenFeatures(settings, TAPS).rows(IMAGES, REQUESTS)
    passes.clear()
    for number, tap in enumerate(TAPS):
        alone = FrozenFeatures(settings, [tap])
        assert equal(alone.rows(IMAGES, REQUESTS), both[number::2])
        memory = FrozenFeatures(settings.model_copy(update={"cache_dir": None}), [tap])
        assert not passes
        assert equal(memory.rows(IMAGES, REQUESTS), both[number::2])
        passes.clear()


def test_raw_pixels_have_a_folder_of_their_own(settings: Engine) -> None:
    normalised = rows(settings, [(0, PLAIN)])
    seen = folders(settings)
    raw = rows(settings.model_copy(update={"normalise": False}), [(0, PLAIN)])
    assert len(folders(settings) - seen) == 2
    assert not any(map(torch.equal, normalised, raw))


def test_the_default_folders_have_the_names_they_always_had(settings: Engine) -> None:
    rows(settings, [(0, PLAIN)])
    names = {
        "version": 2,
        "backbone": "test_efficientnet",
        "weights": "random:0",
        "first_size": 64,
        "pyramid": "antialias",
        "precision": "fp32",
        "device": "cpu",
        "decoder": DECODER,
    }
    wanted = {f"{digest({**names, 'size': size})[:16]}-{size}" for size in (64, 32)}
    assert folders(settings) == wanted


def test_maps_come_by_size_and_then_by_tap(settings: Engine) -> None:
    features = FrozenFeatures(settings, TAPS)
    maps = features.rows(IMAGES, REQUESTS)
    assert features.channels == [32, 48]
    sides = [(32, 8), (48, 2), (32, 4), (48, 1)]
    assert [tuple(scale.shape[1:]) for scale in maps] == [(c, s, s) for c, s in sides]
    backbone = frozen_backbone(settings, CPU)
    pixels = to_tensor(np.stack([resize(ARRAYS[index], 64) for index in range(BATCH)]))
    with torch.no_grad():
        scales = backbone.pyramid(pixels, settings)
        wanted = [maps for scale in scales for maps in backbone(scale, TAPS)]
    evaluated = features.evaluate(IMAGES, range(BATCH))
    assert equal(evaluated, [scale.half().float() for scale in wanted])


def test_a_pickle_keeps_the_taps(settings: Engine) -> None:
    features = FrozenFeatures(settings, TAPS)
    loaded = pickle.loads(pickle.dumps(features))
    assert loaded.taps == TAPS
    assert equal(loaded.rows(IMAGES, REQUESTS), features.rows(IMAGES, REQUESTS))


@pytest.mark.parametrize("taps", [(LAST,), TAPS])
def test_gradients_reach_pixels_through_the_same_maps(
    settings: Engine, taps: tuple[Tap, ...]
) -> None:
    features = FrozenFeatures(settings, taps)
    pixels = to_tensor(np.stack([resize(ARRAYS[index], 64) for index in (0, 3)])).requires_grad_()
    maps = features.differentiable(pixels)
    for scale, cached in zip(maps, features.evaluate(IMAGES, [0, 3]), strict=True):
        torch.testing.assert_close(scale.detach(), cached, rtol=2e-3, atol=1e-4)
        (gradient,) = torch.autograd.grad(scale.sum(), pixels, retain_graph=True)
        assert gradient.flatten(1).any(dim=1).all()
    assert not any(p.requires_grad for p in features.backbone.parameters())


def test_what_leaves_features_alone_shares_their_folder(
    settings: Engine, passes: list[tuple[int, ...]]
) -> None:
    rows(settings)
    passes.clear()
    for change in ({"offline": True}, {"normal_views": 3}, {"seen_views": 9}, {"preset": "other"}):
        rows(settings.model_copy(update=change))
    assert not passes


def test_the_same_weights_from_a_file_give_the_same_features(
    settings: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    write_weights(path, settings)
    assert equal(rows(settings), rows(settings.model_copy(update={"weights": str(path)})))


def test_damaged_files_are_rebuilt(settings: Engine, caplog: pytest.LogCaptureFixture) -> None:
    first = rows(settings)
    files = sorted(Path(str(settings.cache_dir)).rglob("*.npy"))
    assert len(files) == 2
    for file in files:
        data = bytearray(file.read_bytes())
        data[-1] ^= 0xFF
        file.write_bytes(data)
    with caplog.at_level(logging.WARNING, logger="osadbench"):
        assert equal(rows(settings), first)
    assert caplog.text.count("was damaged and will be rebuilt") == 2
    caplog.clear()
    assert equal(rows(settings), first)
    assert not caplog.text


def test_one_lost_scale_is_rebuilt(settings: Engine) -> None:
    first = rows(settings)
    next(Path(str(settings.cache_dir)).rglob("*-32/*.npy")).unlink()
    assert equal(rows(settings), first)


def test_without_a_folder_features_stay_in_memory(
    settings: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    passes: list[tuple[int, ...]],
) -> None:
    monkeypatch.setenv("OSADBENCH_CACHE_DIR", str(tmp_path / "user"))
    features = FrozenFeatures(settings.model_copy(update={"cache_dir": None}))
    first = features.rows(IMAGES, REQUESTS)
    passes.clear()
    assert equal(features.rows(IMAGES, REQUESTS), first)
    assert not passes
    assert list(tmp_path.rglob("*")) == []
    assert equal(first, rows(settings))


def test_evaluation_sees_the_plain_image_in_full_precision(settings: Engine) -> None:
    maps = FrozenFeatures(settings).evaluate(IMAGES, [4, 1])
    assert [scale.dtype for scale in maps] == [torch.float32] * 2
    assert equal(maps, [scale.float() for scale in rows(settings, [(4, PLAIN), (1, PLAIN)])])


def labels(*anomalies: int, n: int = 20) -> Tensor:
    return torch.tensor([int(index in anomalies) for index in range(n)])


def pool(
    settings: Engine, images: LazyImages, targets: Tensor, pseudo: str | None = "cutmix"
) -> FrozenTrainingSet:
    return FrozenTrainingSet(FrozenFeatures(settings), images, targets, pseudo)


def test_the_pools_size(settings: Engine) -> None:
    targets = labels(18, 19)
    assert len(pool(settings, IMAGES, targets).requests) == 18 + 2 * (1 + 4) + 16
    assert len(pool(settings, IMAGES, targets, None).requests) == 18 + 2 * (1 + 4)
    more = settings.model_copy(update={"normal_views": 2, "pseudo_views": 40, "seen_views": 0})
    training = pool(more, IMAGES, targets)
    assert len(training.requests) == 18 * 3 + 2 + 40
    rotated = [index for index, view in training.requests if view == View("rotate", 1)]
    assert rotated == list(range(18))
    assert len(set(training.requests)) == len(training.requests)


def test_one_shot_and_ten_shot_share_the_anomalys_views(
    settings: Engine, passes: list[tuple[int, ...]]
) -> None:
    pool(settings, IMAGES, labels(*range(10, 20))).compute()
    passes.clear()
    one_shot = ArrayImages([*ARRAYS[:10], ARRAYS[14]])
    pool(settings, one_shot, labels(10, n=11)).compute()
    assert not passes


def test_the_pool_does_not_depend_on_the_order_of_the_images(
    settings: Engine, passes: list[tuple[int, ...]]
) -> None:
    targets = labels(18, 19)
    pool(settings, IMAGES, targets).compute()
    passes.clear()
    order = np.random.default_rng(0).permutation(20)
    pool(settings, ArrayImages(ARRAYS[order]), targets[order]).compute()
    assert not passes


def test_pseudo_anomalies_are_spread_over_the_normals(settings: Engine) -> None:
    many = settings.model_copy(update={"pseudo_views": 40})
    made = [(i, view) for i, view in pool(many, IMAGES, labels(18)).requests if "cut" in view.kind]
    counts = np.bincount([index for index, _ in made], minlength=20)
    assert counts[18] == 0
    assert sorted(counts[counts > 0]) == [2] * 17 + [3] * 2
    assert len(set(made)) == 40


def test_batches_are_drawn_from_the_samples_own_views(settings: Engine) -> None:
    more = settings.model_copy(update={"normal_views": 2})
    training = pool(more, IMAGES, labels(18, 19))
    codes = torch.tensor([0, 1, 2] * 200)
    indices = torch.where(codes == 1, 18, 5)
    torch.manual_seed(0)
    maps = training.maps(indices, codes)
    assert [scale.dtype for scale in maps] == [torch.float32] * 2
    pseudo = [request for request in training.requests if request[1].kind == "cutmix"]
    allowed = {
        0: [(5, PLAIN), (5, View("rotate", 0)), (5, View("rotate", 1))],
        1: [(18, PLAIN), *((18, View("rotate", number)) for number in range(4))],
        2: pseudo,
    }
    for code, requests in allowed.items():
        wanted = {tuple(row.flatten().tolist()) for row in rows(more, requests)[0].float()}
        got = {tuple(row.flatten().tolist()) for row in maps[0][codes == code]}
        assert len(wanted) == len(requests)
        assert got == wanted


def with_outliers(*outliers: int) -> Tensor:
    targets = labels(18, 19)
    targets[list(outliers)] = 2
    return targets


def test_outliers_have_the_views_of_normals(settings: Engine) -> None:
    more = settings.model_copy(update={"normal_views": 2})
    training = pool(more, IMAGES, with_outliers(3, 4))
    assert len(training.requests) == 16 * 3 + 2 * 5 + 2 * 3 + 16
    sources = {index for index, view in training.requests if view.kind == "cutmix"}
    assert not sources & {3, 4, 18, 19}, "pseudo anomalies are made of normals only"
    maps = training.maps(torch.tensor([3] * 60), torch.tensor([OUTLIER] * 60))[0]
    wanted = [(3, PLAIN), (3, View("rotate", 0)), (3, View("rotate", 1))]
    got = {tuple(row.flatten().tolist()) for row in maps}
    assert got == {tuple(row.flatten().tolist()) for row in rows(more, wanted)[0].float()}


def test_external_pseudo_anomalies_are_the_outliers(settings: Engine) -> None:
    training = pool(settings, IMAGES, with_outliers(3, 4), "external")
    assert len(training.requests) == 16 + 2 * 5 + 2
    maps = training.maps(torch.tensor([3, 4, 0]), torch.tensor([PSEUDO, PSEUDO, NORMAL]))
    wanted = rows(settings, [(3, PLAIN), (4, PLAIN), (0, PLAIN)])
    assert equal(maps, [scale.float() for scale in wanted])


def test_without_augmentation_all_views_are_plain(settings: Engine) -> None:
    more = settings.model_copy(update={"normal_views": 2})
    features = FrozenFeatures(more)
    training = FrozenTrainingSet(features, IMAGES, with_outliers(3), None, augment=False)
    assert sorted(training.requests) == [(index, PLAIN) for index in range(20)]
    maps = training.maps(torch.tensor([3, 18, 0]), torch.tensor([OUTLIER, SEEN, NORMAL]))
    wanted = rows(settings, [(3, PLAIN), (18, PLAIN), (0, PLAIN)])
    assert equal(maps, [scale.float() for scale in wanted])


def test_both_scales_of_a_sample_are_of_one_view(settings: Engine) -> None:
    training = pool(settings, IMAGES, labels(18, 19))
    large, small = training.maps(torch.tensor([18] * 50), torch.tensor([1] * 50))
    pairs = {
        (tuple(a.flatten().tolist()), tuple(b.flatten().tolist()))
        for a, b in zip(large, small, strict=True)
    }
    assert len(pairs) == 5


def test_arrays_are_resized_and_named_by_content() -> None:
    images = as_lazy_images([ARRAYS[0], ARRAYS[1][:30], ARRAYS[0].copy()])
    assert isinstance(images, ArrayImages)
    assert images.identities[0] == images.identities[2] != images.identities[1]
    resized = images.resized(64, [1, 0])
    assert resized.shape == (2, 64, 64, 3)
    assert (resized[1] == resize(ARRAYS[0], 64)).all()
    lazy: Any = images
    assert as_lazy_images(lazy) is images


def test_pixels_are_scaled_to_one() -> None:
    image = np.zeros((1, 2, 3, 3), dtype=np.uint8)
    image[0, 1, 2, 0] = 255
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 2, 3)
    assert tensor.sum() == tensor[0, 0, 1, 2] == 1
