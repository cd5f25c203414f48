"""The cross-domain setting: trained on one category, tested on another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NoReturn, cast

import pydantic

from osadbench.errors import DataError
from osadbench.params import Params as BaseParams
from osadbench.protocol import Protocol
from osadbench.protocols._draw import (
    check_manifest,
    check_request,
    draw_order,
    refuse_known_classes,
    sort_paths,
    test_paths,
)
from osadbench.registry import register_protocol
from osadbench.types import Adaptation, Manifest, Split

__all__ = ["CrossDomain", "CrossDomainParams"]


class CrossDomainParams(BaseParams):
    """Parameters of the cross-domain setting.

    Attributes:
        epochs: For how many epochs the training goes on with normals of the target; the paper's 10.
    """

    epochs: int = pydantic.Field(default=10, ge=1)


@register_protocol("cross-domain")
class CrossDomain(Protocol):
    """Trained on another category, then on normals of the one that is tested.

    After DRA (Ding, Pang and Shen, CVPR 2022, appendix C.3): a method is trained on a source, its
    normals and labelled anomalies, then for ten epochs on the normals of the target, whose test set
    it scores. Of the categories asked for, each is the target of all the others: five textures of
    MVTec AD give the 20 pairs of DRA's Table 9. A row reads ``grid->carpet``.

    Ours: the paper does not say how many anomalies of the source are labelled; here the shots say
    it, and one seed draws the same ones as in the general setting of the source. No anomaly of the
    target is trained on, so that its whole test set is tested, but for copies of the source's
    anomalies and normal training images.
    """

    Params: ClassVar[type[BaseParams]] = CrossDomainParams

    def splits(
        self,
        manifest: Manifest,
        *,
        seeds: Sequence[int],
        shots: Sequence[int],
        known_classes: Sequence[str] | None = None,
    ) -> Iterator[Split]:
        """Raise ``DataError``: one category is not enough; see :meth:`splits_among`."""
        _refuse_one_category(manifest)

    def splits_among(
        self,
        manifest: Manifest,
        others: Sequence[Manifest],
        *,
        seeds: Sequence[int],
        shots: Sequence[int],
        known_classes: Sequence[str] | None = None,
    ) -> Iterator[Split]:
        """Yield splits by source, shots and seed; see :meth:`Protocol.splits_among`.

        ``train_normals`` and ``train_anomalies`` are the source's.
        """
        refuse_known_classes(self.name, known_classes)
        seeds, shots = check_request(seeds, shots)
        check_manifest(manifest)
        sources = {other.category: other for other in others}
        sources.pop(manifest.category, None)
        if not sources:
            _refuse_one_category(manifest)
        for name in sort_paths(sources):
            yield from self._from(sources[name], manifest, seeds, shots)

    def _from(
        self, source: Manifest, target: Manifest, seeds: Sequence[int], shots: Sequence[int]
    ) -> Iterator[Split]:
        """Yield the splits of one pair, by shots and then by seed."""
        normals = source.select(split="train", label=0)
        anomalies = source.select(split="test", label=1)
        if not normals or len(anomalies) < max(shots):
            raise DataError(
                f"{source.name} has {len(normals)} normal training images and {len(anomalies)} "
                f"anomalies, too few to train on with {max(shots)} shots: ask for fewer shots, or "
                "leave it out"
            )
        # What is trained on may stand in the target under another name, normal images too.
        test = test_paths(target, [*normals, *anomalies])
        adaptation = Adaptation(
            source=source.category,
            source_digest=source.digest,
            normals=tuple(sort_paths(r.path for r in target.select(split="train", label=0))),
            epochs=cast(CrossDomainParams, self.params).epochs,
        )
        drawn = {seed: draw_order("general", source, "", seed, anomalies) for seed in seeds}
        for count in shots:
            for seed, paths in drawn.items():
                yield Split(
                    protocol=self.name,
                    dataset=target.dataset,
                    category=target.category,
                    known_class="",
                    shots=count,
                    seed=seed,
                    manifest_digest=target.digest,
                    train_normals=tuple(sort_paths(record.path for record in normals)),
                    train_anomalies=tuple(paths[:count]),
                    test=test,
                    adaptation=adaptation,
                )


def _refuse_one_category(manifest: Manifest) -> NoReturn:
    raise DataError(
        f"cross-domain trains on one category and tests on another, but {manifest.name} is the "
        f"only one: ask for several categories of {manifest.dataset}"
    )
