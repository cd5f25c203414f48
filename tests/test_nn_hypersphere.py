"""What Deep SAD and Deep SVDD share: encoders, pre-training, centre, and the check for collapse."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from planted_faults import Check, Fault, each_check
from torch import Tensor, nn

from osadbench.errors import ContractError
from osadbench.methods.deepsad import DeepSAD
from osadbench.methods.dsvdd import DeepSVDD
from osadbench.nn import hypersphere
from osadbench.nn.encoders import Encoder, Hypersphere, LeNetEncoder, PooledEncoder
from osadbench.nn.features import FrozenFeatures
from osadbench.nn.fitting import Training
from osadbench.nn.hypersphere import HypersphereMethod, check_not_collapsed
from osadbench.nn.images import ArrayImages
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images

#: The module itself: a fault planted in the stand-in of ``osadbench.nn`` would reach nobody.
encoders = importlib.import_module("osadbench.nn.encoders")

IMAGES, LABELS = toy_images(12, 4, 64, 1)
SETTINGS = engine("smoke", device="cpu")
UNTRAINED: dict[str, Any] = {"epochs": 0, "pretrain_epochs": 0}
METHODS: list[type[DeepSAD] | type[DeepSVDD]] = [DeepSAD, DeepSVDD]

each = pytest.mark.parametrize("kind", METHODS)


def normal_maps() -> list[Tensor]:
    """Return the maps of the normal training images."""
    return FrozenFeatures(SETTINGS).evaluate(ArrayImages(IMAGES), range(12))


def seeded(encoder: Callable[[], Encoder]) -> Encoder:
    torch.manual_seed(0)
    return encoder()


# The centre.


def check_away_from_zero() -> None:
    centre = torch.tensor([0.04, -0.03, 0.0, 0.7, -0.2, 0.1], dtype=torch.float64)
    moved = encoders.away_from_zero(centre)
    assert moved.tolist() == pytest.approx([0.1, -0.1, 0.1, 0.7, -0.2, 0.1], abs=1e-6)


def check_the_centre_is_the_normals_mean() -> None:
    method = DeepSAD(engine=SETTINGS, **UNTRAINED).fit(IMAGES, LABELS)
    network: Any = method.network_
    with torch.no_grad():
        mean = network(normal_maps()).mean(dim=0).tolist()
    expected = [value if abs(value) >= 0.1 else (0.1 if value >= 0 else -0.1) for value in mean]
    assert network.centre.tolist() == pytest.approx(expected, abs=1e-6)


def check_the_centre_stays() -> None:
    seen: list[Tensor] = []

    class Watched(DeepSAD):
        def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
            seen.append(network.centre.clone())
            return super().loss(network, maps, codes)

    method = Watched(engine=SETTINGS).fit(IMAGES, LABELS)
    assert len(seen) > 1
    assert all(torch.equal(centre, method.network_.centre) for centre in seen)  # type: ignore[arg-type]


def check_the_centre_is_taken_after_pretraining() -> None:
    network: Any = DeepSVDD(engine=SETTINGS, epochs=0).fit(IMAGES[:12], LABELS[:12]).network_
    with torch.no_grad():
        mean = network(normal_maps()).mean(dim=0)
    large = mean.abs() > 0.1
    assert large.any()
    torch.testing.assert_close(network.centre[large], mean[large])


def check_distances_are_to_the_centre() -> None:
    sphere = Hypersphere(seeded(lambda: PooledEncoder(3, None, 16)), 16)
    sphere.centre.fill_(0.3)
    maps = [torch.rand(5, 3, 4, 4), torch.rand(5, 3, 2, 2)]
    expected = [sum((v - 0.3) ** 2 for v in row) for row in sphere(maps).tolist()]
    assert sphere.distances(maps).tolist() == pytest.approx(expected, rel=1e-5)


# The encoders.


def check_pooled_inputs() -> None:
    encoder = seeded(lambda: PooledEncoder(2, 8, 16))
    large = torch.tensor([[[[1.0, 3.0]], [[0.0, 4.0]]]])
    small = torch.tensor([[[[4.0]], [[0.0]]]])
    assert encoder.raw([large, small]).tolist() == [[3.0, 1.0]]
    encoder.calibrate(torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 5.0]]))
    scale = (50 / 6) ** 0.5
    inputs = encoder.inputs([large, small])
    assert inputs.tolist()[0] == pytest.approx([3 / scale, 1 / scale], rel=1e-6)


def check_no_layer_has_a_bias() -> None:
    """Without biases a pooled encoder scales with its input, and maps 0 to 0."""
    encoder = seeded(lambda: PooledEncoder(6, 8, 16))
    inputs = torch.randn(3, 6)
    torch.testing.assert_close(encoder(3 * inputs), 3 * encoder(inputs))
    for module in (encoder, LeNetEncoder(), encoder.decoder(), LeNetEncoder().decoder()):
        assert not [name for name, _ in module.named_parameters() if "bias" in name]
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        assert all(not norm.affine and norm.eps == 1e-4 for norm in norms)


def check_contrast_normalisation() -> None:
    image = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    image[0, 0] = 1.0
    image[1] = torch.rand(3, 2, 2)
    normed = encoders.global_contrast_normalisation(image)
    # Four values of 1 and eight of 0: the mean is 1/3, the mean absolute value 4/9.
    assert normed[0, 0].flatten().tolist() == pytest.approx([1.5] * 4)
    assert normed[0, 1:].flatten().tolist() == pytest.approx([-0.75] * 8)
    alone = encoders.global_contrast_normalisation(image[1:])
    torch.testing.assert_close(normed[1:], alone)


def check_the_lenets_inputs_fill_0_to_1() -> None:
    encoder = seeded(LeNetEncoder)
    normals, other = torch.rand(6, 3, 32, 32) * 0.3 + 0.2, torch.rand(2, 3, 32, 32) ** 8
    encoder.calibrate(encoder.raw([normals]))
    inputs = encoder.inputs([normals])
    assert (inputs.min().item(), inputs.max().item()) == pytest.approx((0, 1), abs=1e-6)
    # The range is that of the normals, whatever is scored.
    assert encoder.inputs([other]).max().item() > 1.1


# Pre-training and collapse.


def check_pretraining_lowers_the_error() -> None:
    params: dict[str, Any] = {"epochs": 0, "pretrain_epochs": 30, "pretrain_lr": 3e-3}
    method = DeepSVDD(engine=SETTINGS, **params).fit(IMAGES, LABELS)
    assert len(method.pretrain_losses_) == 30
    assert method.pretrain_losses_[-1] < 0.3 * method.pretrain_losses_[0]
    assert method.initial_digest_ != method.fitted_digest_


class Biased(DeepSAD):
    """An encoder of a bias alone: it maps all images to one vector, and can reach the centre."""

    def encoder(self, channels: Sequence[int]) -> Encoder:
        encoder = PooledEncoder(channels[0], None, self.p.dimensions)
        layer = nn.Linear(channels[0], self.p.dimensions)
        nn.init.zeros_(layer.weight)
        layer.weight.requires_grad_(False)
        encoder.layers = layer
        return encoder


def check_collapse_is_found() -> None:
    for eta in (1e-9, 1.0):
        method = Biased(engine=SETTINGS, eta=eta, pretrain_epochs=0)
        try:
            method.fit(IMAGES, LABELS)
        except ContractError as error:
            assert "collapsed" in str(error)
            continue
        raise AssertionError(f"nothing was found with eta={eta}")


def check_a_flat_score_is_found() -> None:
    flat = torch.tensor([2.0, 2.0 + 1e-5, 2.0])
    try:
        check_not_collapsed("dsvdd", flat, torch.ones(2))
    except ContractError as error:
        assert "collapsed" in str(error)
    else:
        raise AssertionError("equal scores went through")


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def leave_zero(centre: Tensor, smallest: float = 0.1) -> Tensor:
    return torch.where(centre.abs() < smallest, smallest * centre.sign(), centre)


def over_all(self: Any, function: Callable[[list[Tensor]], Tensor]) -> Tensor:
    with self._evaluating():
        return function(self.features.evaluate(self.images, range(len(self.images))))


def before_pretraining(self: HypersphereMethod, network: Any, training: Any) -> None:
    network.encoder.calibrate(training.over_normals(network.encoder.raw))
    network.centre.copy_(encoders.away_from_zero(training.over_normals(network).mean(dim=0)))
    self._pretrain(network.encoder, training.over_normals(network.encoder.inputs))


def wandering(self: Any, maps: Sequence[Tensor]) -> Tensor:
    vectors = self(maps)
    if self.training:
        self.centre.copy_(vectors.detach().mean(dim=0))
    distances: Tensor = (vectors - self.centre).square().sum(dim=1)
    return distances


def forgets_the_centre(self: Any, maps: Sequence[Tensor]) -> Tensor:
    distances: Tensor = self(maps).square().sum(dim=1)
    return distances


def with_biases(widths: Sequence[int]) -> nn.Sequential:
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return nn.Sequential(*(nn.Linear(n_in, n_out) for n_in, n_out in pairs))


def centred(self: Encoder, raw: Tensor) -> None:
    self._set_range(raw.mean(), raw.std())


def by_l2(images: Tensor) -> Tensor:
    centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
    return centred / centred.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


def no_steps(*_: Any, **__: Any) -> list[float]:
    return [1.0] * 30


FAULTS: list[Fault] = [
    Fault("coordinates of 0 stay", encoders, "away_from_zero", leave_zero, check_away_from_zero),
    Fault(
        "small coordinates lose their sign",
        encoders,
        "away_from_zero",
        lambda centre: centre.clamp(min=0.1),
        check_away_from_zero,
    ),
    Fault(
        "anomalies in the centre",
        Training,
        "over_normals",
        over_all,
        check_the_centre_is_the_normals_mean,
    ),
    Fault(
        "centre before pre-training",
        HypersphereMethod,
        "before_training",
        before_pretraining,
        check_the_centre_is_taken_after_pretraining,
    ),
    Fault("centre of each batch", Hypersphere, "distances", wandering, check_the_centre_stays),
    Fault(
        "distance to the origin",
        Hypersphere,
        "distances",
        forgets_the_centre,
        check_distances_are_to_the_centre,
    ),
    Fault("layers with biases", encoders, "_perceptron", with_biases, check_no_layer_has_a_bias),
    Fault("inputs centred", PooledEncoder, "calibrate", centred, check_pooled_inputs),
    Fault(
        "contrast by L2",
        encoders,
        "global_contrast_normalisation",
        by_l2,
        check_contrast_normalisation,
    ),
    Fault(
        "range not fitted",
        LeNetEncoder,
        "calibrate",
        lambda self, raw: None,
        check_the_lenets_inputs_fill_0_to_1,
    ),
    Fault(
        "pre-training without steps",
        HypersphereMethod,
        "_pretrain",
        no_steps,
        check_pretraining_lowers_the_error,
    ),
    Fault(
        "collapse not looked for",
        hypersphere,
        "check_not_collapsed",
        lambda *_: None,
        check_collapse_is_found,
    ),
]


@each
def test_labelled_anomalies_do_not_move_the_centre(
    smoke: Engine, kind: type[DeepSAD] | type[DeepSVDD]
) -> None:
    method = kind(engine=smoke, epochs=0)
    with_anomalies: Any = method.fit(IMAGES, LABELS).network_
    without: Any = method.fit(IMAGES[:12], LABELS[:12]).network_
    assert torch.equal(with_anomalies.centre, without.centre)


def test_the_networks() -> None:
    encoder = PooledEncoder(320, 256, 128)
    assert [tuple(p.shape) for p in encoder.parameters()] == [(256, 320), (128, 256)]
    assert [tuple(p.shape) for p in encoder.decoder().parameters()] == [(256, 128), (320, 256)]
    single = PooledEncoder(512, None, 128)
    assert [tuple(p.shape) for p in single.parameters()] == [(128, 512)]


def test_the_lenet() -> None:
    encoder = LeNetEncoder()
    decoder = encoder.decoder()
    assert sum(p.numel() for p in encoder.parameters()) == 25 * (96 + 2048 + 8192) + 2048 * 128
    assert sum(p.numel() for p in decoder.parameters()) == 25 * (1024 + 8192 + 2048 + 96)
    vectors = encoder(torch.rand(5, 3, 32, 32))
    images = decoder(vectors)
    assert vectors.shape == (5, 128)
    assert images.shape == (5, 3, 32, 32)
    assert images.min() > 0
    assert images.max() < 1
    # A single image, which a pass may end with, has no variance to normalise by.
    assert decoder(vectors[:1]).isfinite().all()


def test_the_lenet_takes_larger_images() -> None:
    encoder = LeNetEncoder()
    pixels = torch.rand(2, 3, 16, 16).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    raw = encoder.raw([torch.zeros(2, 8, 2, 2), pixels])
    assert raw.shape == (2, 3, 32, 32)
    assert not torch.equal(raw[0], raw[1])


def test_images_of_one_colour_are_no_error() -> None:
    grey = torch.full((2, 3, 32, 32), 0.7)
    assert encoders.global_contrast_normalisation(grey).abs().max() < 0.1
    encoder = LeNetEncoder()
    encoder.calibrate(torch.zeros(2, 3, 32, 32))
    assert encoder.inputs([grey]).isfinite().all()


def test_a_lenets_vectors_do_not_depend_on_the_batch() -> None:
    encoder = LeNetEncoder().eval()
    inputs = torch.rand(6, 3, 32, 32)
    torch.testing.assert_close(encoder(inputs[2:3]), encoder(inputs)[2:3])


@pytest.mark.parametrize(
    ("distances", "message"),
    [
        ([1.0, float("nan"), 2.0], "no finite score"),
        ([1.0, float("inf"), 2.0], "no finite score"),
        ([float("nan")], "no finite score"),
        ([0.0, 1e-12, 2e-11], "all 3 training images lie on the centre"),
        ([2.0, 2.0, 2.0001], "its 3 training images all score between 2 and 2.0001"),
    ],
)
def test_a_collapsed_network_is_refused(distances: list[float], message: str) -> None:
    with pytest.raises(ContractError, match=f"^dsvdd collapsed: .*{message}.*lower lr or fewer"):
        check_not_collapsed("dsvdd", torch.tensor(distances), torch.ones(2))


@pytest.mark.parametrize("distances", [[0.5], [0.0], [1e-6, 3e-6, 2e-6], [0.0, 40.0], [5.0, 5.01]])
def test_a_network_that_tells_images_apart_is_not(distances: list[float]) -> None:
    check_not_collapsed("dsvdd", torch.tensor(distances), torch.ones(2))


@each
def test_healthy_methods_go_through(smoke: Engine, kind: type[DeepSAD] | type[DeepSVDD]) -> None:
    method = kind(engine=smoke).fit(IMAGES, LABELS)
    assert method.losses_[-1] < 0.5 * method.losses_[0]


def test_no_anomalies_are_enough_to_find_a_collapse(smoke: Engine) -> None:
    with pytest.raises(ContractError, match="its 12 training images all score"):
        Biased(engine=smoke, pretrain_epochs=0).fit(IMAGES[:12], LABELS[:12])


def test_labelled_anomalies_are_looked_at(smoke: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(
        hypersphere, "check_not_collapsed", lambda name, scores, centre: counts.append(len(scores))
    )
    DeepSAD(engine=smoke, **UNTRAINED).fit(IMAGES, LABELS)
    DeepSVDD(engine=smoke, **UNTRAINED).fit(IMAGES, LABELS)
    assert counts == [16, 12]
