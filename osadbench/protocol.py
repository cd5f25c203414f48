"""The contract of a protocol: a pure function from a manifest and seeds to splits.

A protocol knows no method, no torch and no clock. It sorts before it draws, so that the order in
which a file system lists its files cannot change a split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from osadbench.params import Params as BaseParams
from osadbench.params import resolve_params
from osadbench.types import Manifest, Split

__all__ = ["Protocol"]


class Protocol(ABC):
    """Base of all protocols.

    Class attributes:
        name: Set by ``@register_protocol``.
        Params: The protocol's parameters.
        unlabelled_anomalies: Whether ``train_normals`` may hold anomalies, on purpose, that a
            method is given as normals.

    Args:
        **params: Fields of ``Params``.
    """

    name: ClassVar[str] = ""
    Params: ClassVar[type[BaseParams]] = BaseParams
    unlabelled_anomalies: ClassVar[bool] = False

    def __init__(self, **params: Any) -> None:
        self.params = resolve_params(self.Params, self.name or type(self).__name__, params)

    @abstractmethod
    def splits(
        self,
        manifest: Manifest,
        *,
        seeds: Sequence[int],
        shots: Sequence[int],
        known_classes: Sequence[str] | None = None,
    ) -> Iterator[Split]:
        """Yield the splits of a manifest.

        Args:
            manifest: The images.
            seeds: One repetition each.
            shots: Numbers of labelled anomalies, each 1 or more.
            known_classes: Restricts protocols that have a known class to these; None means all that
                the manifest allows.

        Raises:
            DataError: The manifest cannot give such splits.
            UsageError: A known class or a number of shots that there isn't.
        """

    def splits_among(
        self,
        manifest: Manifest,
        others: Sequence[Manifest],
        *,
        seeds: Sequence[int],
        shots: Sequence[int],
        known_classes: Sequence[str] | None = None,
    ) -> Iterator[Split]:
        """Yield the splits of a manifest, with other categories of its dataset in sight.

        This is what the harness calls. The default leaves the others out; protocols that train on
        them say so in each split's ``adaptation``.

        Args:
            manifest: The images to test on.
            others: Manifests of the same dataset, with ``manifest`` or without.
            seeds: As for :meth:`splits`.
            shots: As for :meth:`splits`.
            known_classes: As for :meth:`splits`.

        Raises:
            DataError: The manifests cannot give such splits.
            UsageError: A known class or a number of shots that there isn't.
        """
        yield from self.splits(manifest, seeds=seeds, shots=shots, known_classes=known_classes)
