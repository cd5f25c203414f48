"""Protocols on datasets: the rows of a request's tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from osadbench.datasets import Dataset, open_component
from osadbench.errors import DataError, UsageError
from osadbench.params import component_text, resolve_params
from osadbench.plan.request import Component, Request
from osadbench.protocol import Protocol
from osadbench.registry import PROTOCOLS
from osadbench.types import Manifest, Split, place_name, split_title

__all__ = [
    "categories_of",
    "make_splits",
    "manifests_of",
    "protocol_label",
    "protocols_of",
    "source_of",
    "splits_of",
]


def protocol_label(protocol: Component) -> str:
    """Return the name that records of a protocol with these parameters have for it.

    Raises:
        UsageError: There is no such protocol or parameter.
    """
    return protocols_of([protocol])[0][0]


def make_splits(request: Request) -> list[tuple[str, Split]]:
    """Return the splits of a request, each behind the label of its protocol.

    Raises:
        UsageError: An unknown name or a wrong value.
        DataError: Data that are not there, or that the protocol can't split.
    """
    protocols, found = protocols_of(request.protocols), list(manifests_of(request))
    return [
        labelled
        for _, manifest in found
        for labelled in splits_of(request, protocols, manifest, categories_of(found, manifest))
    ]


def manifests_of(request: Request) -> Iterable[tuple[Dataset, Manifest]]:
    """Yield the datasets of a request, each with the manifest of each category asked for.

    Raises:
        UsageError: There is no such dataset or category, or one is asked for in two forms.
        DataError: Data that are not there.
    """
    variants: dict[str, Mapping[str, str]] = {}
    for choice in request.datasets:
        name = choice.name.partition("/")[0]
        if variants.setdefault(name, choice.given) != choice.given:
            raise UsageError(
                f"{name} is asked for with two sets of parameters, which one table cannot hold: "
                "run them one by one, each with an output folder of its own"
            )
    for choice in request.datasets:
        dataset, category = open_component(
            choice.name, choice.given, request.data_root, cache=request.cache
        )
        for manifest in dataset.manifests(category):
            yield dataset, manifest


def categories_of(
    found: Iterable[tuple[Dataset, Manifest]], manifest: Manifest
) -> dict[str, Manifest]:
    """Return all that is asked for of a manifest's dataset, by category."""
    return {other.category: other for _, other in found if other.dataset == manifest.dataset}


def source_of(split: Split, categories: Mapping[str, Manifest]) -> Manifest | None:
    """Return the manifest of the category that a split is trained on, if that is another one.

    Raises:
        DataError: That category is not asked for, or the split was made for other images of it.
    """
    if split.adaptation is None:
        return None
    name = place_name(split.dataset, split.adaptation.source)
    source = categories.get(split.adaptation.source)
    if source is None:
        raise DataError(
            f"{split_title(split)} is trained on {name}: ask for that too, by -d {name}"
        )
    if source.digest != split.adaptation.source_digest:
        raise DataError(_other_images(name, split.adaptation.source_digest, source.digest))
    return source


def protocols_of(choices: Iterable[Component]) -> list[tuple[str, Protocol]]:
    """Return protocols under their labels: their names with the parameters that differ.

    Raises:
        UsageError: There is no such protocol or parameter.
    """
    protocols = []
    for choice in choices:
        cls: type[Protocol] = PROTOCOLS.get(choice.name)
        given = resolve_params(cls.Params, choice.name, choice.given)
        default = cls().params.model_dump()
        changed = {k: v for k, v in given.model_dump().items() if v != default[k]}
        protocol = cls(**{k: getattr(given, k) for k in type(given).model_fields})
        protocols.append((component_text(choice.name, changed), protocol))
    return protocols


def splits_of(
    request: Request,
    protocols: Iterable[tuple[str, Protocol]],
    manifest: Manifest,
    categories: Mapping[str, Manifest],
) -> Iterable[tuple[str, Split]]:
    """Yield the splits of a manifest, each under the name of its protocol.

    Args:
        request: Says seeds, shots and known classes; or has splits of its own.
        protocols: What :func:`protocols_of` returned.
        manifest: The images.
        categories: What :func:`categories_of` returned for them.

    Raises:
        DataError: The protocol can't split them, or given splits are of other images.
    """
    if request.splits is not None:
        yield from _given_splits(request.splits, manifest)
        return
    wanted: dict[str, Any] = {
        "seeds": request.seeds,
        "shots": request.shots,
        "known_classes": request.known_classes,
    }
    for label, protocol in protocols:
        for split in protocol.splits_among(manifest, list(categories.values()), **wanted):
            yield label, split


def _given_splits(
    splits: Iterable[tuple[str, Split]], manifest: Manifest
) -> Iterable[tuple[str, Split]]:
    for label, split in splits:
        if (split.dataset, split.category) != (manifest.dataset, manifest.category):
            continue
        if split.manifest_digest != manifest.digest:
            raise DataError(_other_images(manifest.name, split.manifest_digest, manifest.digest))
        yield label, split


def _other_images(name: str, wanted: str, found: str) -> str:
    return (
        f"the splits of {name} were made for other images (manifest {wanted[:12]}, here "
        f"{found[:12]}): use the same data, or make the splits anew with osadbench split"
    )
