"""Options that several commands share, and how they become a request."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from osadbench import settings
from osadbench.cache import cache_dir
from osadbench.errors import ParameterError, UsageError
from osadbench.params import parse_component, parse_setting, split_components
from osadbench.plan import Component, Request
from osadbench.registry import METHODS, PROTOCOLS

__all__ = [
    "assumptions",
    "component_list",
    "engine_options",
    "make_request",
    "number_list",
    "output_option",
    "plugin_option",
    "selection_options",
]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_OUTPUT = Path("results/runs")
#: What ``run`` means where nothing else is said, by option.
DEFAULTS = {"dataset": "elpv", "shots": "1,10", "seeds": "0,1,2", "preset": "frozen"}


def _apply(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _add_plugins(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    for path in value:
        METHODS.add_plugin(path)
        PROTOCOLS.add_plugin(path)
    return value


plugin_option = click.option(
    "--plugin",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_add_plugins,
    type=click.Path(path_type=Path),
    help="Take in the methods and protocols of a .py file.",
)

output_option = click.option(
    "-o",
    "--output-dir",
    "output",
    type=click.Path(path_type=Path),
    default=DEFAULT_OUTPUT,
    envvar="OSADBENCH_OUTPUT_DIR",
    show_default=True,
    help="Folder of the results.",
)

selection_options = _apply(
    [
        plugin_option,
        click.option(
            "-p", "--protocol", "protocols", multiple=True, help="Protocols: general,hard."
        ),
        click.option(
            "-d", "--dataset", "datasets", multiple=True, help="Datasets: elpv, folder/CATEGORY."
        ),
        click.option("--data-root", type=click.Path(path_type=Path), help="The dataset's folder."),
        click.option("--shots", help="Numbers of labelled anomalies, such as 1,10."),
        click.option("--seeds", help="Seeds such as 0,1,2, or how many: 5 means 0 to 4."),
        click.option("--seed", help="One seed."),
        click.option(
            "--known-class", "known", multiple=True, help="Known classes of protocol hard."
        ),
        click.option("--cache-dir", type=click.Path(path_type=Path), help="Folder of the caches."),
    ]
)

engine_options = _apply(
    [
        click.option(
            "-m", "--methods", multiple=True, help='Methods: dra,devnet, "dra[lr=1e-4]", all, !knn.'
        ),
        click.option(
            "--set", "given", multiple=True, help="A parameter: dra.lr=1e-4, engine.seen_views=8."
        ),
        click.option("--preset", help="frozen, paper, paper-text or smoke."),
        click.option("--backbone", help="A timm model with feature maps."),
        click.option("--weights", help="safetensors or .pth file, auto, or random."),
        click.option("--image-sizes", help="Side lengths in pixels, such as 320,224."),
        click.option("--precision", help="auto, fp32 or bf16."),
        click.option("--device", help="auto, cpu, cuda, cuda:1, mps."),
        click.option("--offline", is_flag=True, default=None, help="Never try the network."),
        click.option(
            "--splits", type=click.Path(path_type=Path), help="Splits saved by osadbench split."
        ),
    ]
)


def number_list(text: str, name: str, least: int) -> tuple[int, ...]:
    """Parse ``"1,10"``.

    Raises:
        UsageError: Something in it is no whole number of at least ``least``.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [p for p in parts if not re.fullmatch(r"\d+", p) or int(p) < least]
    if wrong or not parts:
        got = repr(wrong[0]) if wrong else "nothing"
        raise UsageError(
            f"--{name} expects whole numbers of {least} or more, such as 1,10: got {got}"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))


def component_list(texts: Iterable[str], known: Sequence[str]) -> tuple[Component, ...]:
    """Parse ``name``, ``name[key=value]``, ``all``, globs, and ``!name`` to leave some out."""
    chosen: dict[tuple[str, str], Component] = {}
    for part in (part for text in texts for part in split_components(text)):
        if part.startswith("!"):
            name = part[1:].strip()
            chosen = {k: c for k, c in chosen.items() if not fnmatch.fnmatch(c.name, name)}
            continue
        if part == "all" or any(sign in part for sign in "*?"):
            pattern = "*" if part == "all" else part
            chosen |= {(n, ""): Component(n) for n in known if fnmatch.fnmatch(n, pattern)}
            continue
        name, given = parse_component(part)
        chosen[name, str(sorted(given.items()))] = Component(name, given)
    return tuple(chosen.values())


def make_request(options: dict[str, Any], *, with_methods: bool = True) -> Request:
    """Turn the values of the shared options into a request, defaults filled in.

    Raises:
        UsageError: A value that can't be understood, or no method or protocol named.
    """
    methods = component_list(options.get("methods") or (), METHODS.names())
    if with_methods and not methods:
        raise UsageError("no method: name some by -m, such as -m dra,devnet (osadbench list)")
    protocols = component_list(options["protocols"], PROTOCOLS.names())
    splits = _read_splits(options.get("splits"))
    if not protocols and splits is None:
        raise UsageError("no protocol: name some by -p, such as -p hard (osadbench list)")
    methods, engine = _with_settings(methods, options)
    return Request(
        methods=methods,
        protocols=protocols,
        datasets=component_list(options["datasets"] or (DEFAULTS["dataset"],), ()),
        data_root=options["data_root"],
        seeds=_seeds(options),
        shots=number_list(options["shots"] or DEFAULTS["shots"], "shots", 1),
        known_classes=tuple(split_components(",".join(options["known"]))) or None,
        preset=options.get("preset") or DEFAULTS["preset"],
        engine=engine,
        cache=cache_dir(options["cache_dir"]),
        splits=splits,
    )


def assumptions(options: dict[str, Any]) -> str | None:
    """Return the line that says what was assumed, or None if everything was given."""
    given = {"dataset": options["datasets"], "seeds": options["seeds"] or options["seed"]}
    given |= {name: options[name] for name in ("shots", "preset")}
    from_splits = {"dataset", "seeds", "shots"} if options.get("splits") else set()
    parts = [f"{k} {v}" for k, v in DEFAULTS.items() if not given[k] and k not in from_splits]
    if options["output"] == DEFAULT_OUTPUT:
        parts.append(f"output {DEFAULT_OUTPUT}")
    return f"assumed: {'; '.join(parts)}" if parts else None


def _seeds(options: dict[str, Any]) -> tuple[int, ...]:
    if options["seed"] is not None:
        return number_list(options["seed"], "seed", 0)
    text = options["seeds"] or DEFAULTS["seeds"]
    if re.fullmatch(r"\s*[1-9]\d*\s*", text):
        return tuple(range(int(text)))
    return number_list(text, "seeds", 0)


def _with_settings(
    methods: tuple[Component, ...], options: dict[str, Any]
) -> tuple[tuple[Component, ...], dict[str, Any]]:
    """Give the ``--set`` values to the methods and the engine that they name."""
    engine: dict[str, Any] = {}
    by_name: dict[str, dict[str, str]] = {}
    for owner, key, value in map(parse_setting, options.get("given") or ()):
        (engine if owner == "engine" else by_name.setdefault(owner, {}))[key] = value
    unknown = sorted(set(by_name) - {method.name for method in methods})
    if unknown:
        names = ", ".join(method.name for method in methods)
        raise ParameterError(f"--set names {unknown[0]!r}, which is not run: {names}, engine are")
    fields = ("backbone", "weights", "precision", "device", "offline", "image_sizes")
    engine |= {name: options[name] for name in fields if options.get(name) is not None}
    if isinstance(engine.get("image_sizes"), str):
        engine["image_sizes"] = number_list(
            engine["image_sizes"].replace("+", ","), "image-sizes", 32
        )
    settings.engine(options.get("preset") or DEFAULTS["preset"], **engine)
    chosen = (Component(m.name, {**m.given, **by_name.get(m.name, {})}) for m in methods)
    return tuple(chosen), engine


def _read_splits(path: Path | None) -> Any:
    if path is None:
        return None
    from osadbench.splitfile import read_splits

    return read_splits(path)
