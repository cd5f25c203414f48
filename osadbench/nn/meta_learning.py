"""First-order meta-learning of one model from episodes, weighed by how well they generalise.

Zhu, Ding, Tian, Pang: Anomaly Heterogeneity Learning for Open-set Supervised Anomaly Detection,
CVPR 2024. Draws come from torch's default generator; the caller seeds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from osadbench.nn.episode_pool import EpisodePool
from osadbench.nn.episodes import Episode, Side

__all__ = ["MetaLearner", "episode_error", "episode_weights"]


def episode_error(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the weighted squared errors, a scalar.

    Args:
        scores: Float ``(n,)``, on the scale of the labels.
        labels: 0 or 1, ``(n,)``.
        weights: Float ``(n,)``.
    """
    return (weights * (scores - labels).square()).mean()


def episode_weights(errors: Tensor) -> Tensor:
    """Return the weights ``(T,)`` of T episodes, softmax of the negative errors ``(T,)``."""
    return torch.softmax(-errors, dim=0)


Tensors = Mapping[str, Tensor]


@dataclass
class MetaLearner:
    """First-order meta-learning of one model from episodes.

    For every episode a copy of the model takes a few plain gradient steps on the support set; the
    gradient of the copy's loss on the query set is then applied to the model itself. That no
    gradient goes through those steps (first order) is ours; the public code's first pass has one.
    Each step is one call of :meth:`query_loss`, whose gradients
    :func:`osadbench.nn.optimise.optimise` applies at once.

    Args:
        network: The model; its mode is the caller's choice.
        loss: Called with the network, maps and codes.
        scores: Called with the network and maps; scores ``(B,)`` on the scale of the labels.
        pool: Where samples come from.
        episodes: The episodes.
        inner_steps: Steps on the support set.
        inner_lr: Learning rate of these steps.
        batch_size: Samples per batch.
        n_references: References beside each batch.
        uniform_epochs: Epochs in which all episodes weigh the same.

    Attributes:
        weights: Weights ``(T,)`` of the episodes in this epoch; their sum is 1.
    """

    network: nn.Module
    loss: Callable[[nn.Module, list[Tensor], Tensor], Tensor]
    scores: Callable[[nn.Module, list[Tensor]], Tensor]
    pool: EpisodePool
    episodes: Sequence[Episode]
    inner_steps: int
    inner_lr: float
    batch_size: int
    n_references: int
    uniform_epochs: int
    weights: Tensor = field(init=False)
    _offsets: list[Tensors] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.weights = torch.full((len(self.episodes),), 1 / len(self.episodes))

    def query_loss(self) -> Tensor:
        """Return the weighted sum of the adapted copies' losses on their query sets.

        Its gradient in the network's parameters is that of the copies in theirs.
        """
        self._offsets = [self._adapt(episode.support) for episode in self.episodes]
        terms = [
            weight * self._loss_of(self._shifted(offsets), episode.query)
            for weight, offsets, episode in zip(
                self.weights.tolist(), self._offsets, self.episodes, strict=True
            )
        ]
        return torch.stack(terms).sum()

    def start_epoch(self, epoch: int) -> None:
        """Weigh the episodes by the errors of the copies that the last epoch ended with.

        The paper predicts a copy's scores from those of the last five epochs by an LSTM; taking the
        last ones as they are is ours.
        """
        if epoch < self.uniform_epochs or not self._offsets:
            return
        with torch.no_grad():
            pairs = zip(self._offsets, self.episodes, strict=True)
            errors = [self._error(offsets, episode) for offsets, episode in pairs]
        self.weights = episode_weights(torch.stack(errors))

    def _error(self, offsets: Tensors, episode: Episode) -> Tensor:
        maps, labels, weights = self.pool.judges(episode)
        scores = _with_parameters(self.network, self._shifted(offsets), self.scores, maps)
        return episode_error(scores, labels, weights)

    def _adapt(self, support: Side) -> Tensors:
        start = {name: p.detach() for name, p in self.network.named_parameters()}
        values = {name: p.clone().requires_grad_() for name, p in start.items()}
        for _ in range(self.inner_steps):
            loss = self._loss_of(values, support)
            gradients = torch.autograd.grad(
                loss, list(values.values()), allow_unused=True, materialize_grads=True
            )
            values = {
                name: (value - self.inner_lr * gradient).detach().requires_grad_()
                for (name, value), gradient in zip(values.items(), gradients, strict=True)
            }
        return {name: value.detach() - start[name] for name, value in values.items()}

    def _shifted(self, offsets: Tensors) -> Tensors:
        return {name: p + offsets[name] for name, p in self.network.named_parameters()}

    def _loss_of(self, values: Tensors, side: Side) -> Tensor:
        maps, codes = self.pool.draw(side, self.batch_size, self.n_references)
        return _with_parameters(self.network, values, self.loss, maps, codes)


class _Call(nn.Module):
    """A function of a network as a module, because ``functional_call`` takes only those."""

    def __init__(self, network: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network = network
        self.function = function

    def forward(self, *arguments: object) -> Tensor:
        return self.function(self.network, *arguments)


def _with_parameters(
    network: nn.Module, values: Tensors, function: Callable[..., Tensor], *arguments: object
) -> Tensor:
    named = {f"network.{name}": value for name, value in values.items()}
    # A new module is in training mode, but it hands nothing down: the network keeps its own.
    result: Tensor = torch.func.functional_call(_Call(network, function), named, arguments)
    return result
