from __future__ import annotations

import hashlib
from typing import Any, Literal

import numpy as np
import pydantic
import pytest
from pydantic import Field

from osadbench.errors import ParameterError, UsageError
from osadbench.params import (
    Params,
    canonical_json,
    component_text,
    digest,
    parse_component,
    parse_setting,
    resolve_params,
    split_components,
)


class Example(Params):
    lr: float = Field(default=1e-3, gt=0, le=1)
    epochs: int = Field(default=30, ge=1)
    flip: bool = True
    folder: str | None = None
    mode: Literal["mean", "max", "none"] = "mean"
    margin: float = 5.0


class Even(Params):
    n: int = 2
    margin: float = 5.0

    @pydantic.field_validator("n")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


def resolve(**given: Any) -> Example:
    return resolve_params(Example, "dra", given)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("lr", "1e-4", 1e-4),
        ("lr", "1", 1.0),
        ("epochs", "3", 3),
        ("flip", "false", False),
        ("flip", "True", True),
        ("folder", "none", None),
        ("folder", "null", None),
        ("folder", "3", "3"),
        ("mode", "max", "max"),
        ("mode", "none", "none"),
        ("margin", "-2.5", -2.5),
    ],
)
def test_strings_are_parsed_by_the_type_of_the_field(key: str, text: str, value: object) -> None:
    parsed = getattr(resolve(**{key: text}), key)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epochs", "3.5", r"dra\.epochs='3\.5': input should be a valid integer"),
        ("epochs", "", r"dra\.epochs='': input should be a valid integer"),
        ("epochs", "none", r"dra\.epochs='none': input should be a valid integer"),
        ("epochs", "0", r"dra\.epochs='0': input should be greater than or equal to 1"),
        ("lr", "fast", r"dra\.lr='fast': input should be a valid number"),
        ("lr", 2, r"dra\.lr=2: input should be less than or equal to 1"),
        ("flip", "maybe", r"dra\.flip='maybe': input should be a valid boolean"),
        ("mode", "min", r"dra\.mode='min': input should be 'mean', 'max' or 'none'"),
        ("margin", float("nan"), "dra.*margin.*finite number"),
        ("margin", "inf", "dra.*margin.*finite number"),
    ],
)
def test_wrong_values_are_named(key: str, value: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        resolve(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [("epochs", 3.0), ("epochs", True), ("flip", 1), ("folder", 3), ("lr", True), ("lr", None)],
)
def test_values_that_are_not_strings_must_have_the_type(key: str, value: object) -> None:
    with pytest.raises(ParameterError, match=rf"dra\.{key}=.*: input should be a valid"):
        resolve(**{key: value})


def test_whole_numbers_pass_as_floats_and_lax_resolving_takes_more() -> None:
    assert resolve(lr=1).lr == 1.0
    assert resolve_params(Example, "dra", {"epochs": 3.0}, strict=False).epochs == 3


def test_all_mistakes_are_reported_together() -> None:
    with pytest.raises(ParameterError) as caught:
        resolve(epochs="x", lrr=1, flip="maybe", margin="nan")
    message = str(caught.value)
    assert "dra has no parameter 'lrr' (did you mean lr? known: epochs, flip, folder" in message
    assert "dra.epochs='x'" in message
    assert "dra.flip='maybe'" in message
    assert "margin" in message.split("known:")[1].partition(";")[2]


def test_the_validators_of_a_class_are_reported_like_the_rest() -> None:
    with pytest.raises(ParameterError, match="even.*n.*must be even"):
        resolve_params(Even, "even", {"n": "3"})
    with pytest.raises(ParameterError) as caught:
        resolve_params(Even, "even", {"n": 3, "margin": "x"})
    assert "must be even" in str(caught.value)
    assert "even.margin='x'" in str(caught.value)


def test_later_layers_win_and_defaults_fill_the_rest() -> None:
    resolved = resolve_params(Example, "dra", {"lr": 0.5, "epochs": 2}, {"epochs": "7"})
    assert resolved == Example(lr=0.5, epochs=7)
    assert resolved.model_dump() == {
        "lr": 0.5,
        "epochs": 7,
        "flip": True,
        "folder": None,
        "mode": "mean",
        "margin": 5.0,
    }


def test_parameters_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        resolve().epochs = 3


@pytest.mark.parametrize(
    ("text", "name", "settings"),
    [
        ("dra", "dra", {}),
        (" dra ", "dra", {}),
        ("dra[]", "dra", {}),
        ("dra[lr=1e-4]", "dra", {"lr": "1e-4"}),
        ("dra[lr=1e-4, n_ref = 1]", "dra", {"lr": "1e-4", "n_ref": "1"}),
        ("my-own_method2[a=]", "my-own_method2", {"a": ""}),
        ("dra[path=a=b]", "dra", {"path": "a=b"}),
    ],
)
def test_parse_component(text: str, name: str, settings: dict[str, str]) -> None:
    assert parse_component(text) == (name, settings)


@pytest.mark.parametrize("text", ["", "[a=1]", "dra[a=1", "dra[a=1]]", "dra]", "a=1", "dra[a=[1]]"])
def test_other_forms_of_a_component_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected name or name\[key=value,\.\.\.\], got "):
        parse_component(text)


@pytest.mark.parametrize(("text", "part"), [("dra[lr]", "lr"), ("dra[a=1,=2]", "=2")])
def test_settings_need_a_key_and_a_value(text: str, part: str) -> None:
    with pytest.raises(UsageError, match=f"expected key=value inside the brackets.*got '{part}'"):
        parse_component(text)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("dra.lr=1e-4", ("dra", "lr", "1e-4")),
        (" my-method.n_ref = 1 ", ("my-method", "n_ref", "1")),
        ("engine.weights=/some/where=else.pth", ("engine", "weights", "/some/where=else.pth")),
        ("dra.folder=", ("dra", "folder", "")),
    ],
)
def test_parse_setting(text: str, parsed: tuple[str, str, str]) -> None:
    assert parse_setting(text) == parsed


@pytest.mark.parametrize("text", ["", "dra", "dra=1", "dra.lr", ".lr=1", "dra.=1", "a.b.c=1"])
def test_other_forms_of_a_setting_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--set expects component\.key=value, such as dra\.lr"):
        parse_setting(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        (" , ", []),
        ("dra", ["dra"]),
        ("dra, knn,", ["dra", "knn"]),
        ("dra[lr=1,n=2],knn[k=1],devnet", ["dra[lr=1,n=2]", "knn[k=1]", "devnet"]),
    ],
)
def test_split_components(text: str, parts: list[str]) -> None:
    assert split_components(text) == parts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1, 2.0, None, True]}, '{"a":[1,2.0,null,true],"b":1}'),
        ((1, (2, "x")), '[1,[2,"x"]]'),
        ("é\n", '"\\u00e9\\n"'),
        ({"p": Even(n=4)}, '{"p":{"margin":5.0,"n":4}}'),
        (1e-4, "0.0001"),
    ],
)
def test_canonical_json(value: object, text: str) -> None:
    assert canonical_json(value) == text
    assert digest(value) == hashlib.sha256(text.encode()).hexdigest()


def test_order_of_keys_does_not_change_the_digest() -> None:
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert digest([1, 2]) != digest([2, 1])
    assert digest(1) != digest(1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": float("-inf")}]])
def test_canonical_json_refuses_what_is_not_finite(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


@pytest.mark.parametrize(
    ("value", "name"), [({1, 2}, "set"), (np.int64(3), "int64"), (b"x", "bytes"), (object, "type")]
)
def test_canonical_json_refuses_other_types(value: object, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} has no canonical JSON"):
        canonical_json([value])


def test_a_component_s_text_is_parsed_back() -> None:
    text = component_text("dra", {"n_ref": 1, "lr": 1e-4, "sizes": [320, 224]})
    assert text == "dra[lr=0.0001,n_ref=1,sizes=320+224]"
    assert parse_component(text) == ("dra", {"lr": "0.0001", "n_ref": "1", "sizes": "320+224"})
    assert component_text("dra", {}) == "dra"
