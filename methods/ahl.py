"""AHL: anomaly heterogeneity learning on top of DRA or DevNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import pydantic

from osadbench.errors import ContractError
from osadbench.method import check_training_data
from osadbench.nn import (
    episode_pool,
    episodes,
    features,
    images,
    meta_learning,
    optimise,
    sampler,
)
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.schedule import OptimiserParams
from osadbench.params import resolve_params
from osadbench.registry import METHODS, register_method
from osadbench.types import ImageSequence

if TYPE_CHECKING:
    from torch import Tensor, nn

    from osadbench.nn.fitting import Training
    from osadbench.nn.sampler import Sampler

__all__ = ["AHL", "AHLParams"]

#: The scores that a base's losses drive normals and anomalies to: 5 of each abnormality head for an
#: anomaly, 5 of DRA's normality head, which is subtracted, for a normal.
TARGETS: Mapping[str, tuple[float, float]] = {"dra": (-5.0, 15.0), "devnet": (0.0, 5.0)}


class AHLParams(OptimiserParams):
    """Parameters of AHL; those of the base's own training (below) have the base's values.

    Attributes:
        base: The method that AHL is put on: ``"dra"`` or ``"devnet"``, with its preset's values.
        clusters: Clusters of normals; 3 in the paper and its public code.
        pseudo_views: Pseudo anomalies of each of the three kinds. Ours.
        meta_epochs: Epochs of the second stage; 30 in the public code, 0 leaves the base as it is.
        outer_steps: Steps of the unified model per epoch. Ours, 20: the public code has 20 batches
            an epoch and one step for all.
        outer_lr: Adam's learning rate for the unified model; 2e-3 in paper and public code. It
            falls to a tenth every 10 epochs.
        outer_weight_decay: Adam's weight decay for it; 1e-4 in the public code.
        inner_steps: Plain gradient steps of a copy on its support set; the public code makes 3
            passes.
        inner_lr: Learning rate of these steps; 2e-4 in paper and public code.
        meta_batch_size: Samples per batch of the second stage; 48 in the public code.
        uniform_epochs: Epochs before the episodes are weighed; 5 in the paper.
    """

    base: Literal["dra", "devnet"] = "dra"
    clusters: int = pydantic.Field(default=3, ge=2)
    pseudo_views: int = pydantic.Field(default=96, ge=1)
    meta_epochs: int = pydantic.Field(default=30, ge=0)
    outer_steps: int = pydantic.Field(default=20, ge=1)
    outer_lr: float = pydantic.Field(default=2e-3, gt=0)
    outer_weight_decay: float = pydantic.Field(default=1e-4, ge=0)
    inner_steps: int = pydantic.Field(default=3, ge=1)
    inner_lr: float = pydantic.Field(default=2e-4, gt=0)
    meta_batch_size: int = pydantic.Field(default=48, ge=3)
    uniform_epochs: int = pydantic.Field(default=5, ge=0)

    @property
    def outer(self) -> OptimiserParams:
        """The second stage as parameters of the shared training loop."""
        return OptimiserParams(
            lr=self.outer_lr,
            weight_decay=self.outer_weight_decay,
            batch_size=self.meta_batch_size,
            epochs=self.meta_epochs,
            steps_per_epoch=self.outer_steps,
            lr_step=10,
            gradient_clip=1.0,
        )


@register_method("ahl")
class AHL(NetworkMethod):
    """Re-implementation of AHL: one model learnt from several simulated anomaly distributions.

    The base, DRA or DevNet, is trained as ever. Then its heads go on learning from episodes: a
    cluster of normals with half of the labelled anomalies to adapt to, and another cluster with the
    other half to be tested on, so that what is learnt carries over to anomalies not yet seen.

    Source: Zhu, Ding, Tian, Pang: Anomaly Heterogeneity Learning for Open-set Supervised Anomaly
    Detection, CVPR 2024, and its public code.

    Loss: the base's, on the query sets, by copies that took three steps on their support sets.
    Sampler: the base's; in the second stage a third each of normals, labelled and pseudo anomalies.
    Score: the base's.
    Paper: three clusters by K-means and all six ordered pairs of them; disjoint halves of the
    labelled anomalies (a single one in both); pseudo anomalies of two different kinds out of
    CutMix, CutPaste and DRAEM's masks; learning rates; equal weights before epoch 5, then the
    softmax of each copy's negative error on training images outside its own cluster, where an
    anomaly that the copy has not seen weighs 1 and all else 0.5.
    Code: a frozen backbone in the second stage, whose heads start from the trained base; thirds of
    a batch; epochs, weight decay, schedule, gradient clipping; clusters of one or two are dropped.
    Ours: first-order gradients and a step after every batch; a copy's latest scores, on at most 48
    normals and brought from the base's targets to the labels' scale, in place of the LSTM that
    predicts them; clusters on pooled maps of the largest images, made before any training, so that
    data without clusters are refused at once; CutMix within one image, as DRA's, where the code
    pastes from another; CutPaste's scars, and under DRAEM's masks the image itself in place of
    textures; batch norm that keeps the statistics of the first stage and is trained in the form in
    which it scores; for DevNet, pseudo anomalies as anomalies; another domain's normals, which
    bring no anomalies for episodes, are learnt by the base's loss. The public code's clusters that
    are prefixes of the file list, dead residual head, steps before their gradients, references that
    differ between scales and model choice by test scores are not taken over.
    Frozen: as for the base. For time the second stage makes ten steps, one per epoch, on batches of
    12; at 5e-4 in place of 2e-3, which leaves so few steps no time to settle.
    """

    Params: ClassVar[type[AHLParams]] = AHLParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "frozen": {"meta_epochs": 10, "outer_steps": 1, "outer_lr": 5e-4, "meta_batch_size": 12},
        "smoke": {"meta_epochs": 6, "outer_steps": 1, "meta_batch_size": 6, "pseudo_views": 12},
    }

    meta_losses_: list[float]
    clusters_: list[list[int]]

    @classmethod
    def resolve_params(cls, preset: str, given: Mapping[str, Any]) -> AHLParams:
        """Return the parameters; what is not given of the base's training is as the base has it.

        Raises:
            ParameterError: As for every method.
        """
        params = cast(AHLParams, super().resolve_params(preset, given))
        base = METHODS.get(params.base).resolve_params(preset, {})
        training = {name: getattr(base, name) for name in OptimiserParams.model_fields}
        layers = (training, cls.presets.get(preset, {}), given)
        return resolve_params(cls.Params, cls.name, *layers)

    @property
    def p(self) -> AHLParams:
        """The parameters by their own type."""
        return cast(AHLParams, self.params)

    @cached_property
    def base(self) -> NetworkMethod:
        """The method below, with the same seed, engine and training."""
        training = {name: getattr(self.p, name) for name in OptimiserParams.model_fields}
        method = METHODS.get(self.p.base)(seed=self.seed, engine=self.engine, **training)
        return cast(NetworkMethod, method)

    @property
    def pseudo_source(self) -> str | None:
        """As the base has it."""
        return self.base.pseudo_source

    @property
    def n_references(self) -> int:
        """As the base has it."""
        return self.base.n_references

    def sampler(self, labels: Tensor) -> Sampler:
        """Return the base's sampler."""
        return self.base.sampler(labels)

    def build(self, channels: Sequence[int]) -> nn.Module:
        """Return the base's network."""
        return self.base.build(channels)

    def loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Return the base's loss."""
        return self.base.loss(network, maps, codes)

    def image_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        """Return the base's image scores ``(B,)``."""
        return self.base.image_scores(network, maps)

    def patch_maps(self, network: Any, maps: Sequence[Tensor]) -> list[Tensor] | None:
        """Return the base's patch scores."""
        return self.base.patch_maps(network, maps)

    def precompute(self, X: ImageSequence, y: npt.ArrayLike | None = None) -> None:
        """Fill the feature cache with the base's views and the pseudo anomalies of all kinds."""
        super().precompute(X, y)
        if y is not None and not self.engine.train_backbone:
            normals = np.flatnonzero(check_training_data(X, y) == 0).tolist()
            lazy = images.as_lazy_images(X)
            made = [
                request
                for kind in episodes.KINDS
                for request in episodes.pseudo_requests(lazy, normals, kind, self.p.pseudo_views)
            ]
            features.FrozenFeatures(self.engine, self.taps).compute(lazy, made)

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        """Train the base, then learn from episodes; see :meth:`osadbench.method.Method.fit`.

        Raises:
            ContractError: As for every method, or too few normals for two clusters.
        """
        n_normals = int((check_training_data(X, y) == 0).sum())
        needed = max(self.p.clusters, 2 * episodes.MIN_MEMBERS)
        if n_normals < needed:
            raise ContractError(
                f"ahl expected {needed} or more normal training images to make clusters of, got "
                f"{n_normals}: give more, or take {self.p.base} instead"
            )
        return super().fit(X, y)

    def before_training(self, network: Any, training: Training) -> None:
        """Group the normals while nothing has been trained yet."""
        vectors = training.over_normals(lambda maps: maps[0].mean(dim=(2, 3)))
        groups = episodes.normal_clusters(
            vectors.double().cpu().numpy(), self.p.clusters, self.seed
        )
        self.clusters_ = [training.sampler.normals[group].tolist() for group in groups]
        if len(groups) < self.p.clusters:
            self.notes_.append(f"{len(groups)} clusters in place of {self.p.clusters}")
        self.base.before_training(network, training)

    def start_epoch(self, epoch: int) -> None:
        """Tell the base."""
        self.base.start_epoch(epoch)

    def after_training(self, network: Any, training: Training) -> None:
        """Learn from episodes; the last step's model stays."""
        # The copies are scored as the base scores, with its references.
        self.base.after_training(network, training)
        learner = meta_learning.MetaLearner(
            network=network,
            loss=self._episode_loss,
            scores=self._label_scale_scores,
            pool=episode_pool.EpisodePool(training, self.clusters_, self.p.pseudo_views),
            episodes=episodes.make_episodes(len(self.clusters_), training.sampler.anomalies),
            inner_steps=self.p.inner_steps,
            inner_lr=self.p.inner_lr,
            batch_size=self.p.meta_batch_size,
            n_references=self.n_references,
            uniform_epochs=self.p.uniform_epochs,
        )
        self.meta_losses_ = optimise.optimise(
            network.parameters(), learner.query_loss, self.p.outer, on_epoch=learner.start_epoch
        )
        self.base.after_training(network, training)

    def after_adapting(self, network: Any, training: Training) -> None:
        """Keep what the base scores by; without labelled anomalies there are no episodes."""
        self.base.after_training(network, training)

    def _episode_loss(self, network: Any, maps: Sequence[Tensor], codes: Tensor) -> Tensor:
        if self.pseudo_source is None:
            # A base that makes no pseudo anomalies of its own knows normal and anomalous only.
            codes = codes.masked_fill(codes == sampler.PSEUDO, sampler.SEEN)
        return self.base.loss(network, maps, codes)

    def _label_scale_scores(self, network: Any, maps: Sequence[Tensor]) -> Tensor:
        normal, anomalous = TARGETS[self.p.base]
        return (self.base.image_scores(network, maps) - normal) / (anomalous - normal)
