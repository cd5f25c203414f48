"""What ``osadbench describe`` prints of every method: idea, source, departures, parameters."""

from __future__ import annotations

import inspect
import re

import pytest

from osadbench.method import Method
from osadbench.registry import METHODS

HEADINGS = ("Source", "Loss", "Sampler", "Score", "Paper", "Code", "Ours", "Frozen")


def described(name: str) -> str:
    """Return the docstring with the headings: a variant's is its base's."""
    cls: type[Method] = METHODS.get(name)
    texts = (base.__doc__ or "" for base in cls.__mro__)
    return inspect.cleandoc(next((text for text in texts if "Source:" in text), ""))


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_says_what_it_is_and_where_it_departs(name: str) -> None:
    found = re.findall(r"^(\w+): \S", described(name), flags=re.MULTILINE)
    assert [heading for heading in found if heading in HEADINGS] == list(HEADINGS)


@pytest.mark.parametrize("name", METHODS.names())
def test_every_parameter_has_its_meaning(name: str) -> None:
    params = METHODS.get(name).Params
    text = "\n".join(inspect.getdoc(base) or "" for base in params.__mro__[:-1])
    explained = set(re.findall(r"^    (\w+): \S", text, flags=re.MULTILINE))
    assert set(params.model_fields) <= explained


@pytest.mark.parametrize("name", METHODS.names())
def test_the_first_line_fits_a_listing(name: str) -> None:
    first = (inspect.getdoc(METHODS.get(name)) or "").splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 100
