"""The general setting with unlabelled anomalies among the training normals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import ClassVar, cast

import pydantic

from osadbench.errors import DataError
from osadbench.params import Params as BaseParams
from osadbench.protocol import Protocol
from osadbench.protocols._draw import (
    check_manifest,
    check_pool,
    check_request,
    draw_order,
    make_splits,
    refuse_known_classes,
)
from osadbench.registry import register_protocol
from osadbench.types import Manifest, Split

__all__ = ["Contamination", "ContaminationParams", "contaminating"]


class ContaminationParams(BaseParams):
    """Parameters of the contamination setting.

    Attributes:
        rate: Share of unlabelled anomalies in the set of training normals. The paper's are 0, 0.05,
            0.1, 0.15 and 0.2.
        max_rate: Anomalies for this rate leave the test set whatever the rate is, so that all rates
            up to it are tested on the same images.
        pool: Labelled anomalies that are drawn before any number of shots is looked at, as in the
            general setting.
    """

    rate: float = pydantic.Field(default=0.1, ge=0, lt=0.5)
    max_rate: float = pydantic.Field(default=0.2, ge=0, lt=0.5)
    pool: int = pydantic.Field(default=10, ge=1)

    @pydantic.model_validator(mode="after")
    def _rate_fits(self) -> ContaminationParams:
        if self.rate > self.max_rate:
            raise ValueError(f"rate must be at most max_rate={self.max_rate:g}: raise that too")
        return self


def contaminating(n_normals: int, rate: float) -> int:
    """Return how many anomalies added to so many normals make up a share of the sum.

    The floor of ``n_normals / (1 - rate) * rate`` (public code), here without rounding errors.

    Args:
        n_normals: Number of training normals.
        rate: 0 or more, below 1.
    """
    share = Fraction(str(rate))
    return int(n_normals * share / (1 - share))


@register_protocol("contamination")
class Contamination(Protocol):
    """The general setting with unlabelled anomalies added to the training normals.

    After DevNet (Pang, Ding, Shen and van den Hengel, arXiv:2108.00462, section 6.8.3) and its
    public code: the anomalies are drawn at random from the test set, which they leave, and are
    trained on as normals; the labelled anomalies stay as they are. All rates share one test set,
    and a lower rate adds a part of what a higher one adds. The paper runs it on ELPV, BrainMRI,
    HeadCT and Hyper-Kvasir with ten labelled anomalies.

    Ours: one seed draws the same labelled anomalies as in the general setting, and the unlabelled
    ones are the next in that order (the public code's order is that of an unsorted listing); the
    test set is that of ``max_rate`` for every rate, where the public code takes a threshold from
    its user.
    """

    Params: ClassVar[type[BaseParams]] = ContaminationParams
    unlabelled_anomalies: ClassVar[bool] = True

    def splits(
        self,
        manifest: Manifest,
        *,
        seeds: Sequence[int],
        shots: Sequence[int],
        known_classes: Sequence[str] | None = None,
    ) -> Iterator[Split]:
        """Yield one split for each number of shots and seed; see :meth:`Protocol.splits`.

        The unlabelled anomalies stand in ``train_normals``; the manifest has their labels.
        """
        refuse_known_classes(self.name, known_classes)
        seeds, shots = check_request(seeds, shots)
        check_manifest(manifest)
        params = cast(ContaminationParams, self.params)
        n_normals = len(manifest.select(split="train", label=0))
        pool = params.pool
        added, removed = (contaminating(n_normals, r) for r in (params.rate, params.max_rate))
        anomalies = manifest.select(split="test", label=1)
        if (needed := max(pool, *shots)) + removed >= len(anomalies):
            raise DataError(
                f"{manifest.name} has {len(anomalies)} anomalies, but {needed} labelled ones and "
                f"{removed} unlabelled ones (rate {params.max_rate:g} of {n_normals} normals) must "
                "leave some to test: ask for a smaller max_rate, pool or number of shots"
            )
        check_pool(self.name, pool, shots)
        drawn = {
            seed: draw_order("general", manifest, "", seed, anomalies)[: pool + removed]
            for seed in seeds
        }
        unlabelled = {seed: paths[pool : pool + added] for seed, paths in drawn.items()}
        yield from make_splits(
            self.name, manifest, "", shots=shots, drawn=drawn, unlabelled=unlabelled
        )
