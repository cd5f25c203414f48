"""The general setting: labelled anomalies of all classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

__all__ = ["General", "GeneralParams"]


class GeneralParams(BaseParams):
    """Parameters of the general setting.

    Attributes:
        pool: Labelled anomalies that are drawn before any number of shots is looked at; all of them
            leave the test set. No number of shots may be larger.
    """

    pool: int = pydantic.Field(default=10, ge=1)


@register_protocol("general")
class General(Protocol):
    """Labelled anomalies drawn from all anomaly classes; they leave the test set.

    After DRA (Ding, Pang and Shen, CVPR 2022, section 4.2 and appendix A.2): ten anomalies are
    drawn at random, how many classes they cover is left to chance, the one-shot anomaly is the
    first of the ten, and one-shot and ten-shot runs share the test set. The public code shuffles an
    unsorted listing; we sort the paths and derive the seed from named axes, so the drawn images
    are ours.
    """

    Params: ClassVar[type[BaseParams]] = GeneralParams

    def splits(
        self,
        manifest: Manifest,
        *,
        seeds: Sequence[int],
        shots: Sequence[int],
        known_classes: Sequence[str] | None = None,
    ) -> Iterator[Split]:
        """Yield one split for each number of shots and seed; see :meth:`Protocol.splits`."""
        refuse_known_classes(self.name, known_classes)
        seeds, shots = check_request(seeds, shots)
        check_manifest(manifest)
        anomalies = manifest.select(split="test", label=1)
        pool = cast(GeneralParams, self.params).pool
        if (needed := max(pool, *shots)) >= len(anomalies):
            raise DataError(_too_few(manifest, len(anomalies), needed, max(shots)))
        check_pool(self.name, pool, shots)
        drawn = {
            seed: draw_order(self.name, manifest, "", seed, anomalies)[:pool] for seed in seeds
        }
        yield from make_splits(self.name, manifest, "", shots=shots, drawn=drawn)


def _too_few(manifest: Manifest, available: int, pool: int, shots: int) -> str:
    text = (
        f"{manifest.name} has {available} anomalies, but a pool of {pool} must leave some to test"
    )
    if available <= shots:
        return f"{text}: ask for fewer shots, or add anomalies"
    return f"{text}: use a smaller pool, such as general[pool={max(shots, available // 2)}]"
