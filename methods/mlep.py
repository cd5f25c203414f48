"""MLEP adapted to images: a margin between embeddings, beside the reconstruction of normals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import pydantic

from osadbench.nn import heads, sampler
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.schedule import PAPER_CODE, PAPER_TEXT, SMOKE, OptimiserParams
from osadbench.registry import register_method
from osadbench.settings import Engine

if TYPE_CHECKING:
    from torch import Tensor, nn

    from osadbench.nn.fitting import Training

__all__ = ["MLEP", "MLEPParams", "margin_hinge", "squared_distance", "triplet_rows"]


class MLEPParams(OptimiserParams):
    """Parameters of MLEP for images.

    Attributes:
        epochs: As DRA, 30.
        width: Number of dimensions of the embedding. Ours: 128.
        hidden: Width of the decoder's hidden layer. Ours: 256.
        margin: How much farther than the positive the negative shall be; 1 in the public code.
        margin_weight: Weight of the margin beside the reconstruction; 1 in the public code.
        score: ``"distance"`` of the embedding to the mean of the normals', or the error of the
            ``"reconstruction"``. To be chosen before any result is seen.
    """

    epochs: int = pydantic.Field(default=30, ge=0)
    width: int = pydantic.Field(default=128, ge=1)
    hidden: int = pydantic.Field(default=256, ge=1)
    margin: float = pydantic.Field(default=1.0, gt=0)
    margin_weight: float = pydantic.Field(default=1.0, ge=0)
    score: Literal["distance", "reconstruction"] = "distance"


def squared_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared difference over the last dimension (public code)."""
    return (first - second).square().mean(dim=-1)


def margin_hinge(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Return ``max(0, margin + d(anchor, positive) - d(anchor, negative))`` of every triplet.

    The public code averages the distances over the batch before it takes the maximum, so that one
    far negative hides the others; the maximum per triplet is our choice.

    Args:
        anchor: Embeddings ``(T, D)``.
        positive: The same shape.
        negative: The same shape.
        margin: In units of :func:`squared_distance`.

    Returns:
        ``(T,)``, 0 or more.
    """
    gap = squared_distance(anchor, positive) - squared_distance(anchor, negative)
    return (margin + gap).clamp(min=0)


def triplet_rows(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a batch's triplets: two random halves of its normals in pairs, with its anomalies.

    Of pairs and anomalies there are not equally many; the fewer are repeated in turn until each of
    the others has one. So all are used, save one normal where their number is odd.

    Args:
        codes: ``(B,)``: NORMAL and SEEN.

    Returns:
        Rows ``(T,)`` of the anchors, positives and negatives; T is the larger of the two numbers,
        and 0 where there is no pair or no anomaly.
    """
    import torch

    normals = (codes == sampler.NORMAL).nonzero()[:, 0]
    anomalies = (codes == sampler.SEEN).nonzero()[:, 0]
    # On the CPU, so that a seed draws the same on every device.
    shuffled = normals[torch.randperm(len(normals)).to(codes.device)]
    n_pairs, n_anomalies = len(normals) // 2, len(anomalies)
    if not n_pairs or not n_anomalies:
        return normals[:0], normals[:0], normals[:0]
    turn = torch.arange(max(n_pairs, n_anomalies), device=codes.device)
    pair = turn % n_pairs
    return shuffled[pair], shuffled[n_pairs + pair], anomalies[turn % n_anomalies]


@register_method("mlep")
class MLEP(NetworkMethod):
    """Embeddings of normals stay together and a margin away from anomalies; not the video method.

    MLEP predicts the next frame of a video. An image has none, so its place is taken by the
    reconstruction of the feature map from the embedding's map: tables call it ``mlep-img``.

    Source: Liu, Luo, Li, Zhao, Gao: Margin Learning Embedded Prediction for Video Anomaly Detection
    with A Few Anomalies, IJCAI 2019, and its public code; as a baseline for images in Ding, Pang,
    Shen: Catching Both Gray and Black Swans, CVPR 2022, appendix B.2.

    Loss: mean absolute error of the reconstruction, on normals, plus the mean over the triplets of
    max(0, 1 + d(anchor, positive) - d(anchor, negative)), d the mean squared difference.
    Sampler: half normals, half labelled anomalies; triplets by :func:`triplet_rows`.
    Score: d to the mean embedding of the plain training normals, or the reconstruction's error.
    Paper: for images only that backbone and training are DRA's.
    Code: margin 1, weight 1, d, absolute error on normals only; DRA's rotated images, and in the
    preset ``paper`` its optimiser with the schedule's early fall, in ``paper-text`` the text's.
    Ours: the embedding, which is the mean over all patches and both scales of a 1x1 convolution's
    map; the decoder of two 1x1 convolutions, whose target passes no gradient on; the maximum per
    triplet, where the code takes one of the batch's mean; the triplets; both scores. Where every
    triplet keeps the margin, as with one labelled anomaly it may soon, no gradient is left of it:
    ``notes_`` says from which epoch.
    Frozen: the backbone stays as it is and rotated views come from a finite pool; the optimiser
    takes the text's values and DRA's gradient norm.

    Attributes (after ``fit``):
        active_share_: Share of the triplets inside the margin, 0 to 1, per epoch.
    """

    Params: ClassVar[type[MLEPParams]] = MLEPParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {**PAPER_CODE, "lr_step_at": "start"},
        "paper-text": PAPER_TEXT,
        "smoke": SMOKE,
    }

    active_share_: list[float]
    _hinges: Sequence[list[float]] = ()

    @property
    def p(self) -> MLEPParams:
        """The parameters by their own type."""
        return cast(MLEPParams, self.params)

    @classmethod
    def label(cls, engine: Engine) -> str:
        """Return a name that is not the video method's."""
        return "mlep-img"

    def build(self, channels: Sequence[int]) -> nn.Module:
        """Return the encoder and the decoder: layers on patches, which 1x1 convolutions are."""
        import torch
        from torch import nn

        network = heads.NamedHeads(
            {
                "encoder": nn.Linear(channels[0], self.p.width),
                "decoder": nn.Sequential(
                    nn.Linear(self.p.width, self.p.hidden),
                    nn.ReLU(),
                    nn.Linear(self.p.hidden, channels[0]),
                ),
            }
        )
        network.register_buffer("centre", torch.zeros(self.p.width))
        return network

    def before_training(self, network: Any, training: Training) -> None:
        """Start the count of active hinges."""
        self._hinges = []

    def start_epoch(self, epoch: int) -> None:
        """Start the count of an epoch."""
        self._hinges = [*self._hinges, []]

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return the reconstruction's error of the normals plus the weighted margin."""
        normal = codes == sampler.NORMAL
        encoded = self._encode(network, maps)
        loss = self._error(network, [e[normal] for e in encoded], [m[normal] for m in maps]).mean()
        embeddings = self._embed(encoded)
        anchor, positive, negative = (embeddings[rows] for rows in triplet_rows(codes))
        hinges = margin_hinge(anchor, positive, negative, self.p.margin)
        if self._hinges:
            self._hinges[-1].extend(hinges.tolist())
        # The mean of no triplets would be NaN.
        return loss + self.p.margin_weight * hinges.mean() if len(hinges) else loss

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return the scores ``(B,)`` of the chosen kind."""
        encoded = self._encode(network, maps)
        if self.p.score == "reconstruction":
            return self._error(network, encoded, maps)
        return squared_distance(self._embed(encoded), network.centre)

    def patch_maps(self, network: Any, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return each patch's error, or distance to the centre, ``(B, h, w)`` per scale."""
        encoded = self._encode(network, maps)
        if self.p.score == "reconstruction":
            return self._patch_errors(network, encoded, maps)
        return [squared_distance(scale, network.centre) for scale in encoded]

    def after_training(self, network: Any, training: Training) -> None:
        """Keep the normals' mean embedding, and say from when on the margin taught nothing."""
        embeddings = training.over_normals(lambda maps: self._embed(self._encode(network, maps)))
        network.centre.copy_(embeddings.mean(dim=0))
        self.active_share_ = [
            sum(hinge > 0 for hinge in epoch) / max(len(epoch), 1) for epoch in self._hinges
        ]
        active = [number for number, share in enumerate(self.active_share_, 1) if share]
        first_dead = max(active, default=0) + 1
        if first_dead <= len(self.active_share_):
            self.notes_ = [f"the margin hinge was inactive from epoch {first_dead} on"]
        self._hinges = ()

    @staticmethod
    def _encode(network: Any, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the embedding's map ``(B, h, w, width)`` per scale."""
        return [network["encoder"](scale.permute(0, 2, 3, 1)) for scale in maps]

    @staticmethod
    def _embed(encoded: Sequence[Tensor]) -> Tensor:
        """Return the embeddings ``(B, width)``."""
        return heads.mean_over_scales(lambda scale: scale.mean(dim=(1, 2)), encoded)

    @staticmethod
    def _patch_errors(
        network: Any, encoded: Sequence[Tensor], maps: Sequence[Tensor]
    ) -> list[Tensor]:
        """Return the mean absolute error of each patch, ``(B, h, w)`` per scale."""
        # A target with a gradient would draw a trained backbone to maps that are easy to rebuild.
        targets = [scale.detach().permute(0, 2, 3, 1) for scale in maps]
        rebuilt = [network["decoder"](scale) for scale in encoded]
        pairs = zip(rebuilt, targets, strict=True)
        return [(first - second).abs().mean(dim=-1) for first, second in pairs]

    def _error(self, network: Any, encoded: Sequence[Tensor], maps: Sequence[Tensor]) -> Tensor:
        """Return the mean absolute error of each image, ``(B,)``."""
        errors = self._patch_errors(network, encoded, maps)
        return heads.mean_over_scales(lambda scale: scale.mean(dim=(1, 2)), errors)
