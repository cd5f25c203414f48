"""Score maps, against numbers worked out by hand, numerical gradients, and a planted defect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import osadbench.nn.localise as localise
from osadbench.errors import ContractError, NotFittedError
from osadbench.images import resize
from osadbench.methods.devnet import DevNet
from osadbench.methods.dra import DRA
from osadbench.methods.knn import KNN
from osadbench.metrics import compute_metrics
from osadbench.nn.endtoend import TrainedFeatures
from osadbench.nn.features import FrozenFeatures, padded, to_tensor
from osadbench.nn.fitting import SCORE_BATCH
from osadbench.nn.images import ArrayImages
from osadbench.nn.network_method import NetworkMethod
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images
from osadbench.types import UInt8Array

IMAGES, LABELS = toy_images(12, 4, 64, 1)
UNSEEN = toy_images(6, 6, 64, 2)[0]
SHORT: dict[str, Any] = {"epochs": 1, "steps_per_epoch": 2}
SHAPES = [(48, 80), (64, 64), (90, 40)]
ODD_SIZES = [UNSEEN[n][:48, :40].repeat(2, axis=n % 2)[:h, :w] for n, (h, w) in enumerate(SHAPES)]


@pytest.fixture(scope="module")
def devnet(smoke: Engine) -> DevNet:
    return DevNet(engine=smoke, seed=1, **SHORT).fit(IMAGES, LABELS)


@pytest.fixture(scope="module")
def dra(smoke: Engine) -> DRA:
    return DRA(engine=smoke, seed=1, **SHORT).fit(IMAGES, LABELS)


# What becomes of the gradients.

GRADIENTS = torch.tensor(
    [[[[0.1, -0.2], [0.3, 0.0]], [[0.0, 0.2], [-0.1, 0.5]], [[0.1, 0.0], [0.0, -0.5]]]]
)


def test_gradients_are_summed_and_cut_at_their_99th_percentile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(localise, "smoothed", lambda maps: maps)
    [image] = localise.saliency(GRADIENTS).tolist()
    assert image[0] == pytest.approx([0, 0.255754], abs=1e-6)
    assert image[1] == pytest.approx([0.255754, 1], abs=1e-6)
    # By hand: sums .2, .4, .4, 1.0, of which .982 is the 99th percentile.
    total = GRADIENTS.abs().sum(dim=1)
    assert total.flatten().tolist() == pytest.approx([0.2, 0.4, 0.4, 1.0])
    assert image[0][1] == pytest.approx(0.2 / (0.982 - 0.2), abs=1e-6)


def test_the_gradients_signs_do_not_matter_and_their_scale_does_not_either() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(2, 3, 20, 20)
    wanted = localise.saliency(gradients)
    torch.testing.assert_close(localise.saliency(-gradients), wanted)
    torch.testing.assert_close(localise.saliency(100 * gradients), wanted)


def test_every_image_has_a_range_of_its_own() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(3, 3, 20, 30) * torch.tensor([1.0, 50.0, 0.01]).view(3, 1, 1, 1)
    alone = [localise.saliency(gradients[[index]]) for index in range(3)]
    torch.testing.assert_close(localise.saliency(gradients), torch.cat(alone))


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_a_constant_gradient_gives_an_empty_map(value: float) -> None:
    assert localise.saliency(torch.full((1, 3, 8, 8), value)).abs().max() == 0


def test_smoothing_is_a_gaussian_of_sigma_4_cut_off_at_16_pixels() -> None:
    impulse = torch.zeros(1, 65, 65, dtype=torch.float64)
    impulse[0, 32, 32] = 1
    [smooth] = localise.smoothed(impulse)
    assert smooth[32, 32].item() == pytest.approx(0.009948, abs=1e-6)
    for profile in ((smooth > 0).any(dim=0), (smooth > 0).any(dim=1)):
        support = torch.nonzero(profile).flatten().tolist()
        assert support == list(range(16, 49))
    kernel = [np.exp(-(offset**2) / (2 * 16)) for offset in range(-16, 17)]
    assert smooth[32, 16:49].tolist() == pytest.approx(
        [value / sum(kernel) ** 2 for value in kernel], abs=1e-12
    )
    assert smooth.sum().item() == pytest.approx(1)


def test_smoothing_reflects_at_the_borders() -> None:
    corner = torch.zeros(1, 40, 40, dtype=torch.float64)
    corner[0, 0, 0] = 1
    assert localise.smoothed(corner).sum().item() == pytest.approx(1)
    constant = torch.full((2, 24, 40), 0.7, dtype=torch.float64)
    torch.testing.assert_close(localise.smoothed(constant), constant)


def test_resizing_is_bilinear_and_leaves_the_right_size_alone() -> None:
    values = torch.tensor([[0.0, 1.0], [2.0, 3.0]], dtype=torch.float64)
    same = localise.resized_map(values, (2, 2))
    assert same.dtype == np.float32
    assert same.tolist() == values.tolist()
    wide = localise.resized_map(values, (2, 4, 3))
    assert wide.tolist() == [[0, 0.25, 0.75, 1], [2, 2.25, 2.75, 3]]


# The gradients themselves.


class SmallBackbone(nn.Module):
    """A smooth network in double precision."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 4, kernel_size=3, padding=1).double()
        self.mean = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float64).view(1, 3, 1, 1)
        self.std = torch.tensor([0.2, 0.5, 0.1], dtype=torch.float64).view(1, 3, 1, 1)

    def stages(self, inputs: Tensor) -> list[Tensor]:
        return [self.convolution(inputs).tanh(), self.convolution(inputs[:, :, ::2, ::2]).tanh()]


class SmallFeatures:
    """What a method asks of its features, with :class:`SmallBackbone` below."""

    device = torch.device("cpu")

    def __init__(self, normalise: bool) -> None:
        self.backbone = SmallBackbone()
        self.normalise = normalise

    def differentiable(self, pixels: Tensor) -> list[Tensor]:
        backbone = self.backbone
        inputs = (pixels - backbone.mean) / backbone.std if self.normalise else pixels
        return backbone.stages(inputs)


class Small(NetworkMethod):
    """Sums smooth functions of its maps."""

    def build(self, channels: Sequence[int]) -> nn.Module:
        return nn.Identity()

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        return maps[0].sum()

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        parts = [(scale**3).flatten(1).sum(dim=1) for scale in maps]
        return torch.stack(parts).sum(dim=0)


def small(*, normalise: bool, reads_pixels: bool) -> Small:
    method = Small(engine=engine("smoke", normalise=normalise))
    method._features = cast(Any, SmallFeatures(normalise))
    method.reads_pixels = reads_pixels
    return method


def score_of(method: Small, pixels: Tensor) -> Tensor:
    maps = cast(Any, method._features).differentiable(pixels)
    return method.image_scores(None, [*maps, pixels] if method.reads_pixels else maps)


@pytest.mark.parametrize("reads_pixels", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_gradients_are_finite_differences_for_the_networks_input(
    normalise: bool, reads_pixels: bool
) -> None:
    method = small(normalise=normalise, reads_pixels=reads_pixels)
    backbone = cast(Any, method._features).backbone
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(2, 3, 4, 6, dtype=torch.float64, generator=generator)
    got = localise._input_gradients(method, nn.Identity(), pixels)
    assert got.shape == pixels.shape
    # A step in the normalised input is a step of its own size in each channel of the pixels.
    steps = backbone.std.flatten() if normalise else torch.ones(3, dtype=torch.float64)
    for channel, row, column in [(0, 0, 0), (1, 2, 5), (2, 3, 1), (2, 0, 4)]:
        step = torch.zeros_like(pixels)
        step[:, channel, row, column] = 1e-5 * steps[channel]
        change = score_of(method, pixels + step) - score_of(method, pixels - step)
        assert got[:, channel, row, column].tolist() == pytest.approx(
            (change / 2e-5).tolist(), rel=1e-6
        )


@pytest.mark.parametrize("normalise", [True, False])
def test_gradients_of_a_real_network_follow_the_chain_rule(normalise: bool) -> None:
    settings = engine("smoke", device="cpu", pyramid="nearest", normalise=normalise)
    method = DevNet(engine=settings, head="ds", **SHORT).fit(IMAGES, LABELS)
    backbone = cast(FrozenFeatures, method._features).backbone
    pixels = to_tensor(UNSEEN[:3])
    got = localise._input_gradients(method, method.network_, pixels)
    inputs = backbone.normalise(pixels) if normalise else pixels
    inputs = inputs.clone().requires_grad_()
    scales = [inputs, functional.interpolate(inputs, size=(32, 32), mode="nearest")]
    score = method.image_scores(method.network_, [backbone(scale)[0] for scale in scales])
    (wanted,) = torch.autograd.grad(score.sum(), inputs)
    assert wanted.abs().max() > 0
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


def test_gradients_leave_nothing_behind(devnet: DevNet) -> None:
    scores = devnet.score(UNSEEN)
    before = [p.grad for p in devnet.network_.parameters()]
    kept = [None if gradient is None else gradient.clone() for gradient in before]
    devnet.score_maps(UNSEEN[:2])
    for parameter, gradient in zip(devnet.network_.parameters(), kept, strict=True):
        if gradient is None:
            assert parameter.grad is None
        else:
            assert parameter.grad is not None
            assert torch.equal(parameter.grad, gradient)
    backbone = cast(FrozenFeatures, devnet._features).backbone
    assert all(p.grad is None and not p.requires_grad for p in backbone.parameters())
    assert (devnet.score(UNSEEN) == scores).all()


# From images to maps.


@pytest.mark.parametrize("name", ["devnet", "dra"])
def test_maps_have_the_sizes_of_their_images(name: str, request: pytest.FixtureRequest) -> None:
    method: DevNet | DRA = request.getfixturevalue(name)
    maps = method.score_maps(ODD_SIZES)
    assert [image.shape[:2] for image in ODD_SIZES] == [values.shape for values in maps]
    assert len({values.shape for values in maps}) == 3
    for values in maps:
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert values.min() < values.max()


@pytest.mark.parametrize("name", ["devnet", "dra"])
def test_maps_do_not_depend_on_other_images(name: str, request: pytest.FixtureRequest) -> None:
    method: DevNet | DRA = request.getfixturevalue(name)
    n = SCORE_BATCH + 2
    many = np.concatenate([UNSEEN] * 3)[:n]
    maps = method.score_maps(many)
    assert len(maps) == n
    again = method.score_maps(UNSEEN[::-1])[::-1]
    for index in range(n):
        other = again[index % len(UNSEEN)]
        np.testing.assert_allclose(maps[index], other, rtol=1e-3, atol=1e-4 * float(other.max()))


def test_patch_scores_are_upsampled_and_averaged_over_scales(dra: DRA) -> None:
    features = cast(FrozenFeatures, dra._features)
    maps = [padded(m, SCORE_BATCH) for m in features.evaluate(ArrayImages(UNSEEN), range(5))]
    network = cast(Any, dra.network_)
    scales = []
    with torch.no_grad():
        for scale, reference in zip(maps, dra.references_, strict=True):
            seen, pseudo = (
                network[name].convolution(scale)[:, 0].abs() for name in ("seen", "pseudo")
            )
            block = network["residual"].block(reference - scale)
            residual = network["residual"].head.convolution(block)[:, 0].abs()
            scales.append(seen + pseudo + residual)
    given = dra.patch_maps(dra.network_, maps)
    assert given is not None
    torch.testing.assert_close(given, scales, rtol=1e-4, atol=1e-6)
    up = [
        functional.interpolate(s[:5, None], size=(64, 64), mode="bilinear", align_corners=False)
        for s in scales
    ]
    wanted = ((up[0] + up[1]) / 2)[:, 0].numpy()
    for values, other in zip(dra.score_maps(UNSEEN[:5]), wanted, strict=True):
        assert values == pytest.approx(other, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("heads", ["seen", "pseudo+holistic", "residual"])
def test_a_patch_map_is_of_the_heads_that_are_there(smoke: Engine, heads: str) -> None:
    method = DRA(engine=smoke, heads=heads, **SHORT).fit(IMAGES, LABELS)
    features = cast(FrozenFeatures, method._features)
    maps = features.evaluate(ArrayImages(UNSEEN), range(4))
    network = cast(Any, method.network_)
    with torch.no_grad():
        given = method.patch_maps(network, maps)
        assert given is not None
        for number, (patch, scale) in enumerate(zip(given, maps, strict=True)):
            wanted = (
                network["residual"].patch_map(scale, method.references_[number])
                if heads == "residual"
                else network[heads.split("+")[0]].patch_map(scale)
            )
            torch.testing.assert_close(patch, wanted)


def test_without_patch_scores_the_map_is_the_saliency(smoke: Engine, devnet: DevNet) -> None:
    holistic = DRA(engine=smoke, heads="holistic", **SHORT).fit(IMAGES, LABELS)
    for method in (devnet, holistic):
        pixels = to_tensor(np.stack([resize(image, 64) for image in ODD_SIZES]))
        gradients = localise._input_gradients(method, method.network_, pixels)
        wanted = localise.saliency(gradients)
        for values, full, image in zip(
            method.score_maps(ODD_SIZES), wanted, ODD_SIZES, strict=True
        ):
            assert values == pytest.approx(localise.resized_map(full, image.shape), abs=1e-6)
            assert 0 <= values.min() < values.max() <= 1


def test_a_backbone_that_is_trained_gives_maps_and_stays_as_it_is() -> None:
    settings = engine(
        "paper", backbone="test_resnet", weights="random", image_sizes=(64, 32), device="cpu"
    )
    method = DevNet(engine=settings, batch_size=4, **SHORT).fit(IMAGES, LABELS)
    backbone = cast(TrainedFeatures, method._features).backbone
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    kept = [None if p.grad is None else p.grad.clone() for p in backbone.parameters()]
    maps = method.score_maps(ODD_SIZES)
    assert [values.shape for values in maps] == [image.shape[:2] for image in ODD_SIZES]
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert not backbone.training
    for parameter, gradient in zip(backbone.parameters(), kept, strict=True):
        assert gradient is not None
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)


def squares(n: int) -> tuple[UInt8Array, npt.NDArray[np.bool_]]:
    """Return anomalous images, and where their pink squares are."""
    images = toy_images(0, n, 64, 5)[0]
    pink = (images[..., 0] > 200) & (images[..., 1] < 60)
    assert (pink.sum(axis=(1, 2)) == 32 * 32).all()
    return images, pink


@pytest.mark.parametrize("kind", [DRA, DevNet])
def test_maps_are_larger_where_the_defect_is(smoke: Engine, kind: type[DRA] | type[DevNet]) -> None:
    settings = smoke.model_copy(update={"image_sizes": (128,)})
    method = kind(engine=settings, seed=1, lr=0.1, weight_decay=0.0, epochs=4)
    method.fit(IMAGES, LABELS)
    images, pink = squares(6)
    aurocs = [
        compute_metrics(mask.ravel().astype(int), values.ravel().astype(np.float64))["auroc"]
        for mask, values in zip(pink, method.score_maps(images), strict=True)
    ]
    assert np.mean(aurocs) > 0.7


def test_maps_need_a_fitted_method() -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        DRA().score_maps(UNSEEN)


def test_a_method_without_maps_says_so(smoke: Engine) -> None:
    method = KNN(engine=smoke).fit(IMAGES, LABELS)
    with pytest.raises(
        ContractError, match="^KNN has no score maps: it scores an image as a whole"
    ):
        method.score_maps(UNSEEN)


@pytest.mark.parametrize("bad", [UNSEEN[0], UNSEEN.astype(float), UNSEEN[..., :1]])
def test_maps_refuse_what_scores_refuse(dra: DRA, bad: Any) -> None:
    with pytest.raises(ContractError, match="expected images as uint8"):
        dra.score_maps(bad)
