from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vgg

from osadbench.errors import UsageError
from osadbench.nn.backbones import Backbone, build_backbone, frozen_backbone
from osadbench.nn.weights_files import load_state
from osadbench.settings import Engine, engine
from osadbench.taps import LAST, Tap
from osadbench.weights import _HUB_FILES, WeightsFile

RANDOM = WeightsFile("random:0", None, "random")
CPU = torch.device("cpu")
SMALL = Engine(backbone="test_efficientnet", weights="random", image_sizes=(64, 32))
PAPER = engine("paper", weights="random")


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return build_backbone(PAPER, RANDOM)


def pixels(size: int, n: int = 1) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def hub_id(name: str) -> str | None:
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    return config.hf_hub_id


@pytest.mark.parametrize(("size", "side"), [(448, 14), (224, 7), (112, 4), (256, 8), (64, 2)])
def test_resnet_maps_have_stride_32_rounded_up(resnet: Backbone, size: int, side: int) -> None:
    with torch.no_grad():
        [maps] = resnet(pixels(size))
    assert maps.shape == (1, 512, side, side)


def test_the_papers_backbone_is_torchvisions_resnet(resnet: Backbone) -> None:
    assert PAPER.backbone == "resnet18.tv_in1k"
    assert resnet.channels([LAST]) == [512]
    assert resnet.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert resnet.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert hub_id(PAPER.backbone) == "timm/resnet18.tv_in1k"


def test_images_are_normalised_per_channel(resnet: Backbone) -> None:
    grey = resnet.normalise(torch.full((1, 3, 2, 2), 0.5))[0, :, 0, 0]
    assert grey.tolist() == pytest.approx([0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225], abs=1e-6)


def test_the_built_in_table_of_hub_files_is_timms() -> None:
    for name, (repo, filename) in _HUB_FILES.items():
        assert hub_id(name) == repo
        assert filename == "model.safetensors"


def test_lite0_has_normalisation_and_channels_of_its_own() -> None:
    backbone = Backbone("tf_efficientnet_lite0")
    assert backbone.channels([LAST]) == [320]
    assert backbone.mean.flatten().tolist() == [0.5] * 3
    assert backbone.std.flatten().tolist() == [0.5] * 3


def test_the_second_scale_is_the_normalised_tensor_by_nearest_neighbour(resnet: Backbone) -> None:
    settings = PAPER.model_copy(update={"image_sizes": (64, 48)})
    first, second = resnet.pyramid(pixels(64), settings)
    assert torch.equal(first, resnet.normalise(pixels(64)))
    assert torch.equal(second, functional.interpolate(first, size=(48, 48), mode="nearest"))


def test_half_the_size_by_nearest_neighbour_takes_every_second_pixel(resnet: Backbone) -> None:
    settings = PAPER.model_copy(update={"image_sizes": (64, 32)})
    first, second = resnet.pyramid(pixels(64), settings)
    assert torch.equal(second, first[:, :, ::2, ::2])


def test_antialiased_scales_are_means_of_pixels(resnet: Backbone) -> None:
    settings = PAPER.model_copy(update={"image_sizes": (64, 32, 32), "pyramid": "antialias"})
    first, *smaller = resnet.pyramid(pixels(64), settings)
    image = torch.zeros(1, 3, 64, 64)
    image[..., 32:] = 1.0
    edge = resnet.pyramid(image, settings)[1] * resnet.std + resnet.mean
    assert 0.0 < edge[0, 0, 16, 15] < 0.5 < edge[0, 0, 16, 16] < 1.0
    assert [tuple(scale.shape[2:]) for scale in smaller] == [(32, 32)] * 2
    assert smaller[0].std() < 0.7 * first.std()


def test_maps_come_as_float_whatever_the_precision(resnet: Backbone) -> None:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        stages = resnet(pixels(64), (Tap(8), Tap(16, max_pool=True), LAST))
    assert [maps.dtype for maps in stages] == [torch.float32] * 3


@pytest.mark.parametrize("name", ["resnet18.tv_in1k", "test_efficientnet", "test_convnext"])
def test_maps_are_of_the_last_stage(name: str) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(name, pretrained=False).eval()
    backbone = Backbone(name).eval()
    load_state(backbone.network, whole.state_dict(), "test")
    stages: list[Tensor] = whole.forward_intermediates(pixels(96), intermediates_only=True)  # type: ignore[operator]
    with torch.no_grad():
        torch.testing.assert_close(backbone(pixels(96)), [stages[-1]])


def test_networks_with_channels_last_give_channels_first() -> None:
    backbone = Backbone("swin_tiny_patch4_window7_224").eval()
    with torch.no_grad():
        [maps] = backbone(pixels(224))
    assert maps.shape == (1, 768, 7, 7)
    assert backbone.channels([LAST]) == [768]


def stages_by_stride(name: str, image: Tensor) -> tuple[Backbone, dict[int, Tensor]]:
    """Return a backbone, and the stages of the whole network with its weights."""
    torch.manual_seed(0)
    whole = timm.create_model(name, pretrained=False).eval()
    backbone = Backbone(name).eval()
    load_state(backbone.network, whole.state_dict(), "test")
    with torch.no_grad():
        stages: list[Tensor] = whole.forward_intermediates(image, intermediates_only=True)  # type: ignore[operator]
    # Of stages of one stride, such as two blocks, timm's network of features has the last.
    return backbone, {image.shape[2] // maps.shape[2]: maps for maps in stages}


@pytest.mark.parametrize("name", ["resnet18.tv_in1k", "test_resnet", "test_efficientnet"])
def test_taps_are_the_stages_of_their_stride(name: str) -> None:
    backbone, stages = stages_by_stride(name, pixels(96, 2))
    taps = (Tap(16), Tap(4), Tap(8), LAST)
    with torch.no_grad():
        maps = backbone(pixels(96, 2), taps)
    torch.testing.assert_close(maps, [stages[stride] for stride in (16, 4, 8, 32)])
    assert backbone.channels(taps) == [scale.shape[1] for scale in maps]


def test_the_last_stage_can_be_named_by_its_stride(resnet: Backbone) -> None:
    with torch.no_grad():
        first, second = resnet(pixels(64), (Tap(32), LAST))
    assert torch.equal(first, second)


def test_taps_may_be_max_pooled(resnet: Backbone) -> None:
    with torch.no_grad():
        plain, pooled = resnet(pixels(96), (Tap(8), Tap(8, max_pool=True)))
    assert (plain.shape[2:], pooled.shape[2:]) == ((12, 12), (6, 6))
    # A pool takes the largest of four neighbours.
    wanted = plain.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    assert torch.equal(pooled, wanted)


def test_pooled_taps_of_a_vgg_are_its_pools() -> None:
    torch.manual_seed(0)
    layers = vgg.make_layers(vgg.cfgs["A"])
    backbone = Backbone("vgg11").eval()
    state = {f"features.{name}": value for name, value in layers.state_dict().items()}
    load_state(backbone.network, state, "test")
    taps = [Tap(reduction, max_pool=True) for reduction in (1, 2, 4, 8, 16)]
    pools, maps = [], pixels(64)
    with torch.no_grad():
        for layer in layers:
            maps = layer(maps)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(maps)
        torch.testing.assert_close(backbone(pixels(64), taps), pools)


@pytest.mark.parametrize("max_pool", [False, True])
def test_taps_of_networks_with_channels_last_give_channels_first(max_pool: bool) -> None:
    backbone = Backbone("swin_tiny_patch4_window7_224").eval()
    with torch.no_grad():
        [maps] = backbone(pixels(224), [Tap(8, max_pool)])
    side = 14 if max_pool else 28
    assert maps.shape == (1, 192, side, side)
    assert backbone.channels([Tap(8, max_pool)]) == [192]


@pytest.mark.parametrize("ask", [Backbone.channels, lambda net, taps: net(pixels(64), taps)])
def test_a_stride_that_the_network_lacks_is_refused(
    resnet: Backbone, ask: Callable[[Backbone, list[Tap]], Any]
) -> None:
    with pytest.raises(UsageError) as caught:
        ask(resnet, [LAST, Tap(12)])
    assert str(caught.value) == (
        "backbone 'resnet18.tv_in1k' has no stage of stride 12, only of 2, 4, 8, 16, 32: "
        "name another backbone"
    )


def test_pixels_go_in_as_they_are_where_that_is_asked_for(resnet: Backbone) -> None:
    settings = PAPER.model_copy(update={"image_sizes": (64, 32), "normalise": False})
    first, second = resnet.pyramid(pixels(64), settings)
    assert torch.equal(first, pixels(64))
    assert torch.equal(second, pixels(64)[:, :, ::2, ::2])
    smooth = settings.model_copy(update={"pyramid": "antialias"})
    small = resnet.pyramid(pixels(64), smooth)[1]
    assert 0 < small.min() < small.mean() == pytest.approx(0.5, abs=0.02)


ALEXNET = "alexnet.tv_in1k"


@pytest.fixture(scope="module")
def alexnet() -> Backbone:
    return build_backbone(Engine(backbone=ALEXNET, weights="random"), RANDOM)


@pytest.mark.parametrize(("size", "side"), [(448, 13), (224, 6), (112, 2)])
def test_alexnets_maps_are_of_its_last_pooling(alexnet: Backbone, size: int, side: int) -> None:
    with torch.no_grad():
        [maps] = alexnet(pixels(size))
    assert maps.shape == (1, 256, side, side)
    assert alexnet.channels([LAST]) == [256]


def test_alexnet_is_torchvisions(alexnet: Backbone) -> None:
    theirs = torchvision.models.alexnet(weights=None).eval()
    load_state(alexnet.network, theirs.state_dict(), "test")
    image = pixels(96, 2)
    with torch.no_grad():
        torch.testing.assert_close(alexnet(image), [theirs.features(image)])
        torch.testing.assert_close(alexnet(image, [Tap(32)]), [theirs.features(image)])
    assert alexnet.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert alexnet.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])


def test_alexnet_has_one_stage(alexnet: Backbone) -> None:
    message = rf"backbone '{ALEXNET}' has no stage of stride 8, only of 32: name another backbone"
    with pytest.raises(UsageError, match=message):
        alexnet.channels([Tap(8)])


def test_random_weights_are_one_draw() -> None:
    torch.manual_seed(5)
    first = build_backbone(SMALL, RANDOM).state_dict()
    torch.manual_seed(6)
    state = torch.get_rng_state()
    second = build_backbone(SMALL, RANDOM).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["network.conv_stem.weight"].std() > 0.01


def test_a_new_backbone_is_in_eval_mode_and_can_be_trained() -> None:
    backbone = build_backbone(SMALL, RANDOM)
    assert not backbone.training
    assert all(p.requires_grad for p in backbone.parameters())
    assert backbone is not build_backbone(SMALL, RANDOM)


def test_the_frozen_backbone_is_shared_and_has_no_gradients() -> None:
    backbone = frozen_backbone(SMALL, CPU)
    assert backbone is frozen_backbone(SMALL.model_copy(), CPU)
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())
    other = SMALL.model_copy(update={"backbone": "test_resnet"})
    assert frozen_backbone(other, CPU).channels([LAST]) == [96]


def test_a_frozen_backbone_passes_gradients_on_wherever_it_was_built() -> None:
    # Features are computed in inference mode, score maps from gradients; either may come first.
    other = SMALL.model_copy(update={"backbone": "test_resnet", "image_sizes": (48,)})
    with torch.inference_mode():
        backbone = frozen_backbone(other, CPU)
    image = pixels(48).requires_grad_()
    [maps] = backbone(backbone.normalise(image))
    maps.sum().backward()
    assert image.grad is not None
    assert image.grad.any()


@pytest.mark.parametrize("name", ["resnet8", "resnet18x", "resnet18x.tv_in1k", "Resnet18"])
def test_an_unknown_backbone_is_refused_with_the_nearest_names(name: str) -> None:
    message = rf"no backbone '{name}': did you mean .*resnet18.*\? name a timm model with feature"
    with pytest.raises(UsageError, match=message):
        Backbone(name)


def test_a_name_like_no_other_is_refused() -> None:
    with pytest.raises(UsageError, match="^no backbone 'qqqqqqq': name a timm model with feature"):
        Backbone("qqqqqqq")


def test_an_unknown_tag_is_refused() -> None:
    message = r"backbone 'resnet18.nope' cannot be built \(Invalid pretrained tag \(nope\)"
    with pytest.raises(UsageError, match=message):
        Backbone("resnet18.nope")


def test_a_name_on_the_hub_is_refused_without_asking_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: Any, **__: Any) -> None:
        pytest.fail("asked the network")

    monkeypatch.setattr("timm.models._hub.load_model_config_from_hf", ask)
    monkeypatch.setattr("timm.models._factory.load_model_config_from_hf", ask)
    with pytest.raises(UsageError, match="no backbone 'hf-hub:timm/resnet18.tv_in1k'"):
        Backbone("hf-hub:timm/resnet18.tv_in1k")
