"""From the rows of an experiment to the places whose results they show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from osadbench.errors import UsageError, did_you_mean
from osadbench.experiments.loading import places
from osadbench.experiments.model import Block, Experiment, Place
from osadbench.types import place_name

__all__ = ["Member", "RowSpec", "experiment_rows", "plain_name"]


def plain_name(name: str) -> str:
    """Return a class's name in the form in which names are compared: ``"broken_pick"``."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


@dataclass(frozen=True)
class Member:
    """One place that results are of.

    Attributes:
        dataset: Dataset.
        category: Category, or ``""``.
        known_classes: Names of the known class, plain; empty in settings without one.
    """

    dataset: str
    category: str
    known_classes: tuple[str, ...] = ()

    def holds(self, dataset: str, category: str, known_class: str) -> bool:
        """Whether results of a dataset, category and known class are of this place."""
        if (dataset, category) != (self.dataset, self.category):
            return False
        return plain_name(known_class) in (self.known_classes or ("",))


@dataclass(frozen=True)
class RowSpec:
    """One row of a table.

    Attributes:
        block: The block it stands in.
        dataset: Dataset as the paper names it.
        subset: Category or known class as the paper names it, or ``""``.
        aggregate: Whether it is the mean over its members.
        members: Where its results come from; one, or those that the mean is over.
    """

    block: Block
    dataset: str
    subset: str
    aggregate: bool
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """Such as ``"mvtec/grid"``, ``"elpv/mean"`` or ``"elpv"``."""
        last = "mean" if self.aggregate else self.subset
        return f"{self.dataset}/{last}" if last else self.dataset

    @property
    def places(self) -> tuple[str, ...]:
        """The dataset or ``dataset/category`` of each member."""
        return tuple(place_name(member.dataset, member.category) for member in self.members)


def experiment_rows(experiment: Experiment) -> tuple[RowSpec, ...]:
    """Return the rows of an experiment, in order.

    Raises:
        UsageError: A row names a subset that its dataset lacks.
    """
    return tuple(
        row for block in experiment.blocks for name in block.rows for row in _rows(block, name)
    )


def _rows(block: Block, name: str) -> Iterator[RowSpec]:
    dataset, _, subset = name.partition("/")
    place = places()[dataset]
    if not subset:
        yield RowSpec(block, dataset, "", False, (Member(*_split(place.dataset)),))
        return
    subsets = place.categories or place.classes
    if subset == "mean":
        yield RowSpec(block, dataset, "", True, tuple(_member(place, one) for one in subsets))
        return
    for one in subsets if subset == "*" else _one_of(subset, subsets, dataset):
        yield RowSpec(block, dataset, one, False, (_member(place, one),))


def _one_of(subset: str, subsets: Sequence[str], dataset: str) -> tuple[str]:
    if subset not in subsets:
        raise UsageError(f"{dataset} has no subset {subset!r}: {did_you_mean(subset, subsets)}")
    return (subset,)


def _member(place: Place, subset: str) -> Member:
    dataset, category = _split(place.dataset)
    if place.categories:
        return Member(dataset, subset)
    names = (subset, *place.other.get(subset, ()))
    return Member(dataset, category, tuple(map(plain_name, names)))


def _split(dataset: str) -> tuple[str, str]:
    name, _, category = dataset.partition("/")
    return name, category
