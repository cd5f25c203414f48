from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from osadbench.nn.heads import (
    HolisticHead,
    NamedHeads,
    PatchHead,
    Projection,
    ResidualHead,
    mean_over_scales,
    top_k_mean,
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def maps(n: int = 3, channels: int = 6, side: int = 5) -> Tensor:
    return torch.randn(n, channels, side, side)


def test_top_k_mean_of_alternating_scores() -> None:
    values = torch.tensor([[(-1) ** (i + 1) * i / 10 for i in range(1, 21)]], dtype=torch.float64)
    assert top_k_mean(values, 0.1).item() == pytest.approx(1.95, abs=1e-6)
    assert top_k_mean(values, 0.1, signed=True).item() == pytest.approx(1.8, abs=1e-6)


@pytest.mark.parametrize(
    ("side", "fraction", "k"),
    [
        *[(14, 0.1, 19), (7, 0.1, 4), (4, 0.1, 1), (13, 0.1, 16), (6, 0.1, 3), (1, 0.1, 1)],
        *[(14, fraction, k) for fraction, k in {0.01: 1, 0.05: 9, 0.15: 29, 0.2: 39}.items()],
        *[(7, fraction, k) for fraction, k in {0.01: 1, 0.05: 2, 0.15: 7, 0.2: 9}.items()],
        (5, 1.0, 25),
    ],
)  # fmt: skip
def test_number_of_patches_that_count(side: int, fraction: float, k: int) -> None:
    one_patch = torch.zeros(2, side * side)
    one_patch[0, -1] = 1.0
    assert top_k_mean(one_patch, fraction).tolist() == pytest.approx([1 / k, 0])


def test_negative_patches_count_as_anomalous_unless_signed() -> None:
    scores = torch.tensor([[-5.0, 1.0, 0.0, 0.0]])
    assert top_k_mean(scores, 0.25).item() == 5.0
    assert top_k_mean(scores, 0.25, signed=True).item() == 1.0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_patch_scores_are_the_convolutions(layout: torch.memory_format) -> None:
    head = PatchHead(6)
    batch = maps().to(memory_format=layout)
    wanted = head.convolution(batch).flatten(1)
    assert head.patch_scores(batch).shape == (3, 25)
    torch.testing.assert_close(head.patch_scores(batch), wanted)


def test_a_patch_heads_score_is_the_top_of_its_patches() -> None:
    head = PatchHead(6, top_k=0.2)
    patches = head.patch_scores(maps(side=5))
    torch.manual_seed(0)
    head = PatchHead(6, top_k=0.2)
    wanted = patches.abs().sort(dim=1, descending=True).values[:, :5].mean(dim=1)
    torch.testing.assert_close(head(maps(side=5)), wanted)


@pytest.mark.parametrize("signed", [False, True])
def test_a_patch_heads_map_has_what_it_ranks_in_its_place(signed: bool) -> None:
    head = PatchHead(6, signed=signed)
    batch = torch.randn(3, 6, 4, 7)
    scores = head.convolution(batch)[:, 0]
    assert scores.min() < 0 < scores.max()
    torch.testing.assert_close(head.patch_map(batch), scores if signed else scores.abs())
    values = head.patch_map(batch).flatten(1).sort(descending=True).values
    torch.testing.assert_close(values[:, :2].mean(dim=1), head(batch))


def test_a_residual_heads_map_has_what_it_ranks_in_its_place() -> None:
    head = ResidualHead(6).eval()
    batch, reference = torch.randn(3, 6, 4, 7), torch.randn(6, 4, 7)
    block = head.block(reference - batch)
    torch.testing.assert_close(
        head.patch_map(batch, reference), head.head.convolution(block)[:, 0].abs()
    )


def test_a_patch_head_has_one_weight_per_channel_and_a_bias() -> None:
    assert sum(p.numel() for p in PatchHead(512).parameters()) == 513


def test_a_signed_patch_head_can_go_below_zero() -> None:
    for signed, low in ((True, -3.0), (False, 3.0)):
        head = PatchHead(6, signed=signed)
        torch.nn.init.zeros_(head.convolution.weight)
        torch.nn.init.constant_(head.convolution.bias, -3.0)  # type: ignore[arg-type]
        assert head(maps()).tolist() == [low] * 3


def test_the_residual_is_mean_reference_minus_sample() -> None:
    references = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).view(2, 2, 1, 1)
    sample = torch.tensor([1.5, 0.0]).view(1, 2, 1, 1)
    residual = ResidualHead.residual(sample, references.mean(dim=0))
    assert residual.flatten().tolist() == pytest.approx([0.5, 4.0], abs=1e-6)


def test_the_residual_head_scores_the_block_of_the_residual() -> None:
    head = ResidualHead(6).eval()
    sample, reference = maps(), maps()[0]
    block: Any = head.block
    convolution, norm, _ = block
    torch.nn.init.normal_(norm.running_mean)
    wanted = head.head(norm(convolution(reference - sample)).clamp(min=0))
    torch.testing.assert_close(head(sample, reference), wanted)
    assert convolution.kernel_size == (3, 3)
    assert block(sample).shape == sample.shape


def test_the_residual_heads_batch_norm_rests_in_eval_mode() -> None:
    head = ResidualHead(6)
    norm: Any = head.block[1]
    before = norm.running_mean.clone()
    head.eval()(maps(), maps()[0])
    assert torch.equal(norm.running_mean, before)
    head.train()(maps(), maps()[0])
    assert not torch.equal(norm.running_mean, before)


def test_the_holistic_head_is_two_layers_on_pooled_maps() -> None:
    head, signed = HolisticHead(6), HolisticHead(6, signed=True)
    signed.load_state_dict(head.state_dict())
    batch = maps(64)
    layers: Any = head.layers
    first, _, last = layers
    wanted = last(first(batch.mean(dim=(2, 3))).clamp(min=0)).squeeze(1)
    torch.testing.assert_close(signed(batch), wanted)
    torch.testing.assert_close(head(batch), wanted.abs())
    assert (first.in_features, first.out_features, last.out_features) == (6, 256, 1)
    assert (wanted < 0).any()


def test_the_projection_pools_and_maps_if_it_has_a_width() -> None:
    batch = maps()
    torch.testing.assert_close(Projection(6, None)(batch), batch.mean(dim=(2, 3)))
    head = Projection(6, 4)
    torch.testing.assert_close(head(batch), head.layer(batch.mean(dim=(2, 3))))
    assert head(batch).shape == (3, 4)
    assert list(Projection(6, None).parameters()) == []


def test_scores_are_averaged_over_scales() -> None:
    def head(scale: Tensor, reference: Tensor) -> Tensor:
        return scale.sum(dim=(1, 2, 3)) - reference

    scales = [torch.ones(2, 1, 4, 4), torch.ones(2, 1, 2, 2)]
    references = [torch.tensor(1.0), torch.tensor(3.0)]
    assert mean_over_scales(head, scales, references).tolist() == [8.0, 8.0]
    with pytest.raises(ValueError, match="shorter"):
        mean_over_scales(head, scales, references[:1])


def test_named_heads_are_registered_as_modules() -> None:
    named = NamedHeads({"seen": PatchHead(6), "holistic": HolisticHead(6)})
    assert list(named) == ["seen", "holistic"]
    assert len(list(named.parameters())) == 6
