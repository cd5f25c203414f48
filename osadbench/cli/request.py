"""From the values of the options to a request."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from osadbench.cache import cache_dir
from osadbench.cli.options import DEFAULT_OUTPUT
from osadbench.datasets import dataset_names
from osadbench.errors import ParameterError, UsageError, did_you_mean
from osadbench.params import parse_component, parse_setting, split_components
from osadbench.plan import Component, Request
from osadbench.registry import METHODS, PROTOCOLS
from osadbench.types import Split, place_name

__all__ = [
    "assumptions",
    "component_list",
    "engine_settings",
    "make_request",
    "number_list",
    "seed_list",
]

logger = logging.getLogger("osadbench")

#: What ``run`` means where nothing else is said, by option.
DEFAULTS = {"dataset": "elpv", "shots": "1,10", "seeds": "0,1,2", "preset": "frozen"}
#: What the options of numbers look like, for error messages.
EXAMPLES = {"shots": "1,10", "seeds": "0,1,2", "seed": "0", "image-sizes": "320,224"}
#: More is taken for a slip: a seed given as a number of seeds.
MOST_SEEDS = 1000
#: Engine settings that have an option of their own, and more to them than their value.
ELSEWHERE = {"preset": "--preset", "cache_dir": "--cache-dir"}


def number_list(text: str, name: str, least: int) -> tuple[int, ...]:
    """Parse whole numbers such as ``"1,10"``, each once.

    Args:
        text: What was given.
        name: The option's name without dashes, a key of ``EXAMPLES``.
        least: The smallest number allowed.

    Raises:
        UsageError: Something in it is no whole number of at least ``least``.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [p for p in parts if not re.fullmatch(r"\d+", p) or int(p) < least]
    if wrong or not parts:
        got, example = repr(wrong[0]) if wrong else "nothing", EXAMPLES[name]
        raise UsageError(
            f"--{name} expects whole numbers of {least} or more, such as {example}: got {got}"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))


def component_list(texts: Iterable[str], known: Sequence[str], kind: str) -> list[Component]:
    """Parse ``name``, ``name[key=value]``, ``all``, globs, and ``!name`` to leave some out.

    A list that begins by leaving something out begins with all.

    Raises:
        UsageError: A glob or a ``!name`` fits nothing.
    """
    parts = [part for text in texts for part in split_components(text)]
    if parts and parts[0].startswith("!"):
        parts.insert(0, "all")
    chosen: list[Component] = []
    for part in parts:
        name, given = parse_component(part.removeprefix("!"))
        if part.startswith("!"):
            left_out = _fitting(name, [component.name for component in chosen], kind)
            chosen = [component for component in chosen if component.name not in left_out]
        else:
            is_pattern = name == "all" or any(sign in name for sign in "*?")
            names = _fitting(name, known, kind) if is_pattern else [name]
            found = [Component(name, given) for name in names]
            chosen += [component for component in found if component not in chosen]
    return chosen


def _fitting(pattern: str, names: Sequence[str], kind: str) -> list[str]:
    found = [name for name in names if pattern == "all" or fnmatchcase(name, pattern)]
    if not found:
        raise UsageError(f"{pattern!r} fits no {kind} here: {did_you_mean(pattern, names)}")
    return found


def make_request(options: dict[str, Any], *, with_methods: bool = True) -> Request:
    """Turn the values of the shared options into a request, defaults filled in.

    Raises:
        UsageError: A value that can't be understood, or no method or protocol named.
    """
    methods = component_list(options.get("methods") or (), METHODS.names(), "method")
    if with_methods and not methods:
        raise UsageError("no method: name some by -m, such as -m dra,devnet (osadbench list)")
    protocols = component_list(options["protocols"], PROTOCOLS.names(), "protocol")
    splits = _read_splits(options)
    if not protocols and splits is None:
        raise UsageError("no protocol: name some by -p, such as -p hard (osadbench list)")
    _warn_of_broken()
    methods, engine = _with_settings(methods, options)
    return Request(
        methods=tuple(methods),
        protocols=tuple(protocols),
        datasets=tuple(_datasets(options, splits)),
        data_root=options["data_root"],
        seeds=seed_list(options),
        shots=number_list(options["shots"] or DEFAULTS["shots"], "shots", 1),
        known_classes=tuple(split_components(",".join(options["known"]))) or None,
        preset=options.get("preset") or DEFAULTS["preset"],
        engine=engine,
        cache=cache_dir(options["cache_dir"]),
        splits=splits,
        outliers=options.get("outliers"),
        localise=bool(options.get("localise")),
    )


def _datasets(
    options: dict[str, Any], splits: Sequence[tuple[str, Split]] | None
) -> list[Component]:
    if not options["datasets"] and splits is not None:
        names = (place_name(split.dataset, split.category) for _, split in splits)
        return [Component(name) for name in dict.fromkeys(names)]
    texts = options["datasets"] or (DEFAULTS["dataset"],)
    datasets = component_list(texts, dataset_names(), "dataset")
    if not datasets:
        raise UsageError("no dataset: name some by -d, such as -d elpv (osadbench list)")
    return datasets


def _warn_of_broken() -> None:
    for registry in (METHODS, PROTOCOLS):
        for entry in registry.entries():
            if entry.error is not None:
                text = "%s %r of %s is broken and left out: %s"
                logger.warning(text, registry.kind, entry.name, entry.origin, entry.error)


def assumptions(options: dict[str, Any]) -> str | None:
    """Return the line that says what was assumed, or None if everything was given."""
    given = {"seeds": options["seeds"] or options["seed"], "dataset": options["datasets"]}
    given |= {name: options[name] for name in ("shots", "preset") if name in options}
    told = options.get("splits") or options.get("table")
    of_those = {"dataset", "seeds", "shots"} if told else set()
    assumed = [name for name in DEFAULTS if not given.get(name, True) and name not in of_those]
    parts = [f"{name} {DEFAULTS[name]}" for name in assumed]
    if options.get("output") == DEFAULT_OUTPUT:
        parts.append(f"output {DEFAULT_OUTPUT}")
    return f"assumed: {'; '.join(parts)}" if parts else None


def seed_list(options: dict[str, Any], default: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Return the seeds asked for by ``--seeds`` or ``--seed``.

    Args:
        options: The values of these options.
        default: What stands where neither is given; None for those of ``DEFAULTS``.

    Raises:
        UsageError: Both are given, or something that is no list or number of seeds.
    """
    if default is not None and options["seed"] is None and options["seeds"] is None:
        return default
    if options["seed"] is not None:
        if options["seeds"] is not None:
            raise UsageError("expected --seeds or --seed, got both: give one of them")
        return number_list(options["seed"], "seed", 0)
    text = options["seeds"] or DEFAULTS["seeds"]
    if not re.fullmatch(r"\s*[1-9]\d*\s*", text):
        return number_list(text, "seeds", 0)
    if len(text.strip()) > len(str(MOST_SEEDS)) or int(text) > MOST_SEEDS:
        raise UsageError(
            f"--seeds {text} means that many seeds, and {MOST_SEEDS} is the most: for that one "
            f"seed give --seed {text}"
        )
    return tuple(range(int(text)))


def engine_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the engine settings of options whose methods have parameters of their own.

    Raises:
        ParameterError: ``--set`` names something else than the engine, or what it can't set.
    """
    owners = sorted({parse_setting(text)[0] for text in options.get("given") or ()} - {"engine"})
    if owners:
        raise ParameterError(
            f"--set names {', '.join(owners)}, but a table has parameters of its own: expected "
            "engine"
        )
    return _with_settings([], options)[1]


def _with_settings(
    methods: Sequence[Component], options: dict[str, Any]
) -> tuple[list[Component], dict[str, Any]]:
    """Give the ``--set`` values to the methods and the engine that they name."""
    engine: dict[str, Any] = {}
    by_name: dict[str, dict[str, str]] = {}
    for owner, key, value in map(parse_setting, options.get("given") or ()):
        (engine if owner == "engine" else by_name.setdefault(owner, {}))[key] = value
    unknown = sorted(set(by_name) - {method.name for method in methods})
    if unknown:
        names = ", ".join(sorted({method.name for method in methods}))
        raise ParameterError(
            f"--set names {', '.join(unknown)}, which is not run: expected engine, {names}"
        )
    for key in sorted(engine.keys() & ELSEWHERE.keys()):
        raise ParameterError(f"engine.{key} cannot be set: give {ELSEWHERE[key]}")
    fields = ("backbone", "weights", "precision", "device", "offline", "image_sizes")
    engine |= {name: options[name] for name in fields if options.get(name) is not None}
    if isinstance(engine.get("image_sizes"), str):
        engine["image_sizes"] = number_list(
            engine["image_sizes"].replace("+", ","), "image-sizes", 32
        )
    chosen = [Component(m.name, {**m.given, **by_name.get(m.name, {})}) for m in methods]
    return chosen, engine


def _read_splits(options: dict[str, Any]) -> tuple[tuple[str, Split], ...] | None:
    path = options.get("splits")
    if path is None:
        return None
    said = {"protocols": "-p", "shots": "--shots", "seeds": "--seeds", "seed": "--seed"}
    said["known"] = "--known-class"
    twice = [flag for name, flag in said.items() if options[name]]
    if twice:
        raise UsageError(
            f"--splits says itself what {' and '.join(twice)} would say: drop one or the other"
        )
    from osadbench.splitfile import read_splits

    return read_splits(path)
