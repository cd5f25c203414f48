from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import osadbench.nn.fitting as fitting
from osadbench.methods.devnet import DevNet
from osadbench.methods.dra import DRA
from osadbench.methods.knn import KNN
from osadbench.nn.augment import pseudo_anomaly, random_rotation
from osadbench.nn.backbones import build_backbone, resolve_weights
from osadbench.nn.endtoend import TrainedFeatures, TrainingImages
from osadbench.nn.features import PLAIN, View, to_tensor, view_pixels
from osadbench.nn.images import ArrayImages
from osadbench.nn.optimise import optimise
from osadbench.nn.random import isolated_rng
from osadbench.nn.sampler import NORMAL, OUTLIER, PSEUDO, SEEN
from osadbench.settings import engine
from osadbench.taps import LAST, Tap
from osadbench.testing import toy_images
from osadbench.types import FloatArray

SETTINGS = engine(
    "paper", weights="random", image_sizes=(64, 32), device="cpu", precision="fp32", offline=True
)
#: The same with a smaller network, where many fits are needed.
SMALL = SETTINGS.model_copy(update={"backbone": "test_resnet"})
SHORT: dict[str, Any] = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 4}
IMAGES, LABELS = toy_images(12, 4, 64, 1)
UNSEEN = toy_images(17, 17, 64, 2)[0]


class Run(NamedTuple):
    """A method that was trained end to end, and its tensors before and after."""

    method: DRA | DevNet
    before: list[Tensor]
    after: list[Tensor]
    scores: FloatArray


def train(method: DRA | DevNet, monkeypatch: pytest.MonkeyPatch) -> Run:
    before: list[Tensor] = []
    after: list[Tensor] = []

    def noted(
        parameters: Iterable[nn.Parameter],
        loss: Callable[[], Tensor],
        params: Any,
        **options: Any,
    ) -> list[float]:
        trained = list(parameters)
        before.extend(p.detach().clone() for p in trained)
        history = optimise(trained, loss, params, **options)
        after.extend(p.detach().clone() for p in trained)
        return history

    monkeypatch.setattr(fitting, "optimise", noted)
    method.fit(IMAGES, LABELS)
    return Run(method, before, after, method.score(UNSEEN))


@pytest.fixture(scope="module", params=[DRA, DevNet])
def run(request: pytest.FixtureRequest) -> Run:
    method = request.param(engine=SETTINGS, seed=1, **SHORT)
    with pytest.MonkeyPatch.context() as monkeypatch:
        return train(method, monkeypatch)


def backbone_of(run: Run) -> nn.Module:
    features = run.method._features
    assert isinstance(features, TrainedFeatures)
    return features.backbone


def test_every_tensor_is_trained(run: Run) -> None:
    heads = len(list(run.method.network_.parameters()))
    backbone = len(list(backbone_of(run).parameters()))
    assert len(run.before) == heads + backbone
    assert backbone == 60
    same = [
        i for i, pair in enumerate(zip(run.before, run.after, strict=True)) if torch.equal(*pair)
    ]
    assert same == []
    assert run.method.initial_digest_ != run.method.fitted_digest_


def test_every_tensor_has_a_gradient(run: Run) -> None:
    parameters = [*run.method.network_.parameters(), *backbone_of(run).parameters()]
    assert all(p.grad is not None for p in parameters)


def test_batch_norm_learns_while_training_and_rests_after(run: Run) -> None:
    fresh = build_backbone(SETTINGS, resolve_weights(SETTINGS)).state_dict()
    trained = {name: value.clone() for name, value in backbone_of(run).state_dict().items()}
    for name in ("network.bn1.running_mean", "network.layer4.1.bn2.running_var"):
        assert not torch.equal(fresh[name], trained[name])
    # Two steps of two scales each.
    assert trained["network.bn1.num_batches_tracked"] == 4
    run.method.score(UNSEEN[:3])
    assert all(torch.equal(v, trained[k]) for k, v in backbone_of(run).state_dict().items())
    modules = [*run.method.network_.modules(), *backbone_of(run).modules()]
    assert not any(module.training for module in modules)


def test_scores_are_finite_and_differ(run: Run) -> None:
    assert run.scores.dtype == np.float64
    assert np.isfinite(run.scores).all()
    assert len(set(run.scores)) == len(UNSEEN)


def test_scores_are_repeated_bit_by_bit(run: Run) -> None:
    assert (run.method.score(UNSEEN) == run.scores).all()


def test_scores_do_not_depend_on_other_images(run: Run) -> None:
    order = np.random.default_rng(0).permutation(len(UNSEEN))
    assert (run.method.score(UNSEEN[order]) == run.scores[order]).all()
    single = [run.method.score(UNSEEN[[index]])[0] for index in (0, 9, 33)]
    assert single == run.scores[[0, 9, 33]].tolist()


def test_pickling_keeps_the_scores(run: Run) -> None:
    loaded = pickle.loads(pickle.dumps(run.method))
    assert (loaded.score(UNSEEN) == run.scores).all()


@pytest.mark.parametrize("kind", [DRA, DevNet])
def test_a_seed_decides_the_scores_and_a_fit_starts_anew(kind: type[DRA] | type[DevNet]) -> None:
    def fitted(seed: int) -> DRA | DevNet:
        return kind(engine=SMALL, seed=seed, **SHORT).fit(IMAGES, LABELS)

    first, again, other = fitted(1), fitted(1), fitted(2)
    scores = first.score(UNSEEN)
    assert (again.score(UNSEEN) == scores).all()
    assert not (other.score(UNSEEN) == scores).any()
    other.seed = 1
    other.fit(IMAGES, LABELS)
    assert other.initial_digest_ == first.initial_digest_
    assert (other.score(UNSEEN) == scores).all()


@pytest.mark.parametrize("method", [DRA, DevNet])
def test_reduced_precision_gives_about_the_same(method: type[DRA] | type[DevNet]) -> None:
    low = SMALL.model_copy(update={"precision": "bf16"})
    full = low.model_copy(update={"precision": "fp32"})
    scores = [
        method(engine=settings, seed=1, lr=1e-5, **SHORT).fit(IMAGES, LABELS).score(UNSEEN[:4])
        for settings in (low, full)
    ]
    assert np.isfinite(scores[0]).all()
    assert (scores[0] != scores[1]).all()
    assert scores[0] == pytest.approx(scores[1], rel=0.1, abs=0.1)


def test_references_of_plain_normals_are_computed_in_eval_mode() -> None:
    method = DRA(engine=SMALL, seed=1, n_ref=12, **SHORT).fit(IMAGES, LABELS)
    maps = method._features.evaluate(ArrayImages(IMAGES), range(12))
    for reference, scale in zip(method.references_, maps, strict=True):
        torch.testing.assert_close(reference, scale.mean(dim=0))
        assert not reference.requires_grad


def test_mixed_references_are_fixed_too() -> None:
    method = DRA(engine=SMALL, seed=1, ref_test="mixed_fixed", **SHORT).fit(IMAGES, LABELS)
    assert (method.score(UNSEEN[:4]) == method.score(UNSEEN[:4])).all()
    assert not any(reference.requires_grad for reference in method.references_)


@pytest.fixture(scope="module")
def features() -> TrainedFeatures:
    return TrainedFeatures(SETTINGS)


@pytest.mark.parametrize("source", ["cutmix", None])
def test_training_images_are_augmented_by_their_kind(
    features: TrainedFeatures, monkeypatch: pytest.MonkeyPatch, source: str | None
) -> None:
    monkeypatch.setattr(features, "differentiable", lambda pixels: [pixels])
    images = TrainingImages(features, ArrayImages(IMAGES), source)
    indices, codes = torch.tensor([3, 13, 5, 3]), torch.tensor([0, 1, 2 if source else 0, 0])
    with isolated_rng(7):
        [pixels] = images.maps(indices, codes)
    plain = to_tensor(IMAGES[indices.numpy()])
    with isolated_rng(7):
        wanted = [
            pseudo_anomaly(image, str(source)) if code == 2 else random_rotation(image)
            for image, code in zip(plain, codes.tolist(), strict=True)
        ]
    assert torch.equal(pixels, torch.stack(wanted))
    assert not torch.equal(pixels[0], pixels[3]), "the same image is turned anew"


def test_external_pseudo_anomalies_are_rotated_as_any_image(
    features: TrainedFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "differentiable", lambda pixels: [pixels])
    images = TrainingImages(features, ArrayImages(IMAGES), "external")
    indices, codes = torch.tensor([3, 13, 5]), torch.tensor([PSEUDO, OUTLIER, NORMAL])
    with isolated_rng(7):
        [pixels] = images.maps(indices, codes)
    with isolated_rng(7):
        wanted = [random_rotation(image) for image in to_tensor(IMAGES[indices.numpy()])]
    assert torch.equal(pixels, torch.stack(wanted))


def test_without_augmentation_training_images_are_plain(
    features: TrainedFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "differentiable", lambda pixels: [pixels])
    images = TrainingImages(features, ArrayImages(IMAGES), None, augment=False)
    [pixels] = images.maps(torch.tensor([3, 13]), torch.tensor([NORMAL, SEEN]))
    assert torch.equal(pixels, to_tensor(IMAGES[[3, 13]]))


def test_a_trained_backbone_gives_the_stages_that_are_read() -> None:
    taps = (Tap(8), Tap(16, max_pool=True), LAST)
    tapped = TrainedFeatures(SETTINGS, taps)
    assert tapped.channels == [128, 256, 512]
    maps = tapped.evaluate(ArrayImages(IMAGES), range(2))
    sides = [(128, 8), (256, 2), (512, 2), (128, 4), (256, 1), (512, 1)]
    assert [tuple(scale.shape) for scale in maps] == [(2, c, s, s) for c, s in sides]


def test_rows_of_views_are_augmented_but_carry_no_gradients(features: TrainedFeatures) -> None:
    requests = [(0, PLAIN), (0, View("rotate", 1)), (3, View("cutmix", 0)), (0, PLAIN)]
    rows = features.rows(ArrayImages(IMAGES), requests)
    pixels = view_pixels(ArrayImages(IMAGES), requests, 64)
    with torch.no_grad():
        wanted = features.differentiable(pixels)
    for scale, other in zip(rows, wanted, strict=True):
        assert not scale.requires_grad
        torch.testing.assert_close(scale, other, rtol=1e-4, atol=1e-5)
    assert torch.equal(rows[0][0], rows[0][3])
    assert not torch.equal(rows[0][0], rows[0][1])


def test_evaluation_sees_plain_images_without_gradients(features: TrainedFeatures) -> None:
    features.backbone.train()
    maps = features.evaluate(ArrayImages(IMAGES), range(10))
    assert not features.backbone.training
    assert [tuple(scale.shape) for scale in maps] == [(10, 512, 2, 2), (10, 512, 1, 1)]
    assert not any(scale.requires_grad for scale in maps)
    with torch.no_grad():
        wanted = features.differentiable(to_tensor(IMAGES[:10]))
    for scale, other in zip(maps, wanted, strict=True):
        torch.testing.assert_close(scale, other, rtol=1e-4, atol=1e-5)


def test_training_maps_have_gradients(features: TrainedFeatures) -> None:
    images = TrainingImages(features, ArrayImages(IMAGES), None)
    maps = images.maps(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert all(scale.requires_grad for scale in maps)


def test_the_control_takes_the_backbone_as_it_is() -> None:
    method = KNN(engine=SMALL).fit(IMAGES, LABELS)
    scores = method.score(UNSEEN)
    assert scores.shape == (34,)
    assert scores[17:].mean() > scores[:17].mean()


def test_nothing_is_cached_for_a_backbone_that_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "FrozenFeatures", lambda *_: pytest.fail("asked for features"))
    DevNet(engine=SETTINGS).precompute(IMAGES, LABELS)
    DevNet(engine=SETTINGS).precompute(IMAGES)
