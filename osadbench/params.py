"""Typed parameters: strict on the way in, complete on the way out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict

from osadbench.errors import ParameterError, UsageError, did_you_mean

__all__ = [
    "Params",
    "canonical_json",
    "component_text",
    "digest",
    "parse_component",
    "parse_setting",
    "resolve_params",
    "split_components",
    "value_text",
]


class Params(BaseModel):
    """Base of every component's parameters: frozen, typed, no unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


P = TypeVar("P", bound=Params)


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN.

    Args:
        value: Anything JSON can hold, pydantic models included.

    Raises:
        ValueError: The value holds NaN or infinity.
        TypeError: The value holds something JSON cannot.
    """

    def plain(item: Any) -> Any:
        if isinstance(item, BaseModel):
            return item.model_dump(mode="json")
        raise TypeError(f"{type(item).__name__} has no canonical JSON")

    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=plain)


def digest(value: Any) -> str:
    """Return the SHA-256 hex digest of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def split_components(text: str) -> list[str]:
    """Split ``"dra[lr=1e-4,n_ref=1],devnet"`` at the commas outside brackets."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]


def parse_component(text: str) -> tuple[str, dict[str, str]]:
    """Parse ``name`` or ``name[key=value,key=value]``.

    Returns:
        The name and its settings as typed, still strings.

    Raises:
        UsageError: The text has another form.
    """
    match = re.fullmatch(r"\s*([^\[\]=]+?)\s*(?:\[([^\[\]]*)\])?\s*", text)
    if match is None:
        raise UsageError(f"expected name or name[key=value,...], got {text!r}")
    settings: dict[str, str] = {}
    for part in (match[2] or "").split(","):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"expected key=value inside the brackets of {text!r}, got {part!r}")
        settings[key.strip()] = value.strip()
    return match[1], settings


def component_text(name: str, settings: Mapping[str, Any]) -> str:
    """Return the text that :func:`parse_component` reads, sorted by key; the name where none is."""
    inside = ",".join(f"{key}={value_text(value)}" for key, value in sorted(settings.items()))
    return f"{name}[{inside}]" if inside else name


def value_text(value: Any) -> str:
    """Return a parameter's value as it is typed: ``320+224`` for several."""
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def parse_setting(text: str) -> tuple[str, str, str]:
    """Parse ``component.key=value`` as ``--set`` takes it.

    Raises:
        UsageError: The text has another form.
    """
    match = re.fullmatch(r"\s*([\w-]+)\.([\w-]+)\s*=\s*(.*?)\s*", text)
    if match is None:
        raise UsageError(f"--set expects component.key=value, such as dra.lr=1e-4, got {text!r}")
    return match[1], match[2], match[3]


def resolve_params(cls: type[P], owner: str, *layers: Mapping[str, Any], strict: bool = True) -> P:
    """Build a parameter object from layers of settings, later ones winning.

    Args:
        cls: The parameter class.
        owner: Name of the component, for the error message.
        *layers: Settings by field name. Strings are parsed by the field's type; other values must
            have it already.
        strict: Whether non-string values must have the field's type exactly.

    Raises:
        ParameterError: All mistakes at once: unknown names with the nearest valid ones, and values
            that the field does not take.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    known = list(cls.model_fields)
    mistakes = [
        f"{owner} has no parameter {key!r} ({did_you_mean(key, known)})"
        for key in merged
        if key not in known
    ]
    valid = {key: value for key, value in merged.items() if key in known}
    values: dict[str, Any] = {}
    for key, value in valid.items():
        try:
            values[key] = _coerce(cls, key, value, strict=strict)
        except pydantic.ValidationError as error:
            for item in error.errors():
                mistakes.append(f"{owner}.{key}={value!r}: {item['msg'].lower()}")
    try:
        params = cls(**values)
    except pydantic.ValidationError as error:
        # A value refused above is missing here; it is reported once.
        rest = [item for item in error.errors() if not {*item["loc"]} & (merged.keys() - values)]
        mistakes += _messages(owner, rest)
    if mistakes:
        raise ParameterError("; ".join(mistakes))
    return params


def _coerce(cls: type[Params], key: str, value: Any, *, strict: bool) -> Any:
    field = cls.model_fields[key]
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(
        # Re-attach the constraints, which pydantic keeps beside the bare annotation.
        _annotated(field.annotation, field.metadata)
    )
    if isinstance(value, str):
        # "none" is None where the field can be None, else a text like any other.
        if value.lower() in {"none", "null"}:
            with contextlib.suppress(pydantic.ValidationError):
                return adapter.validate_python(None)
        return adapter.validate_python(value)
    return adapter.validate_python(value, strict=strict)


def _annotated(annotation: Any, metadata: Iterable[Any]) -> Any:
    from typing import Annotated

    for item in metadata:
        annotation = Annotated[annotation, item]
    return annotation


def _messages(owner: str, errors: Iterable[Any]) -> list[str]:
    return [
        f"{owner}: {'.'.join(map(str, item['loc']))} {item['msg']}".replace("  ", " ")
        for item in errors
    ]
