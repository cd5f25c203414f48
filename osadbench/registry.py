"""Finding components by name without importing them.

A component is a class under ``@register_method("name")`` or ``@register_protocol("name")``. Names
come from four places, read in this order: the files of ``osadbench.methods`` (or ``.protocols``),
entry points of installed packages, and files given by ``--plugin``. Files are read with ``ast``,
so that listing needs no torch; a class is imported when it is asked for. Two components of one name
are an error. What cannot be read or imported is listed as broken and stops nothing else.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from osadbench.errors import PluginError, UsageError, did_you_mean, one_line

__all__ = ["METHODS", "PROTOCOLS", "Entry", "Registry", "register_method", "register_protocol"]

T = TypeVar("T", bound=type)


def register_method(name: str) -> Callable[[T], T]:
    """Mark a class as the method ``name``. The name must be a literal string: it is read by ast."""
    return _mark(name)


def register_protocol(name: str) -> Callable[[T], T]:
    """Mark a class as the protocol ``name``. The name must be a literal string."""
    return _mark(name)


def _mark(name: str) -> Callable[[T], T]:
    def mark(cls: T) -> T:
        cls.name = name  # type: ignore[attr-defined]
        return cls

    return mark


@dataclass(frozen=True)
class Entry:
    """A name, where it comes from, and what is wrong with it.

    Attributes:
        name: The component's name; the file's stem where even that could not be read.
        origin: File, or entry point of a package.
        summary: First line of the class's docstring, ``""`` if it was not read.
        error: Why the component is broken, or None.
        builtin: Whether it ships with osadbench.
    """

    name: str
    origin: str
    summary: str = ""
    error: str | None = None
    builtin: bool = False


class Registry:
    """The components of one kind.

    Args:
        kind: ``"method"`` or ``"protocol"``.
        package: Import name of the package whose files are searched.
        group: Entry point group.
    """

    def __init__(self, kind: str, package: str, group: str) -> None:
        self.kind = kind
        self.package = package
        self.group = group
        self._plugins: list[Path] = []

    def add_plugin(self, path: str | Path) -> None:
        """Take a file's components in as well.

        Raises:
            PluginError: There is no such file.
        """
        file = Path(path)
        if not file.is_file():
            raise PluginError(f"no plug-in file {file}: give the path of a .py file")
        # A file of the package itself is found without being named.
        known = {*self._plugins, *(found.resolve() for found in self._package_files())}
        if file.resolve() not in known:
            self._plugins.append(file.resolve())

    @property
    def plugins(self) -> Sequence[Path]:
        """The plug-in files taken in, so that another process can do the same."""
        return tuple(self._plugins)

    def entries(self) -> list[Entry]:
        """Return all components sorted by name, broken ones among them."""
        entries = [entry for entry, _ in self._found()]
        return sorted(entries, key=lambda entry: (entry.name, entry.origin))

    def names(self) -> list[str]:
        """Return the names of the components that are not known to be broken, sorted."""
        return sorted({entry.name for entry in self.entries() if entry.error is None})

    def get(self, name: str) -> Any:
        """Import and return the class registered under a name.

        Raises:
            UsageError: There is no such name; the nearest ones are offered.
            PluginError: The component is broken, or two claim the name.
        """
        found = [(entry, load) for entry, load in self._found() if entry.name == name]
        if not found:
            known = (entry.name for entry, _ in self._found() if entry.error is None)
            raise UsageError(f"no {self.kind} {name!r}: {did_you_mean(name, known)}")
        if len(found) > 1:
            origins = " and ".join(entry.origin for entry, _ in found)
            raise PluginError(f"{self.kind} {name!r} is claimed by {origins}: rename one of them")
        entry, load = found[0]
        if entry.error is not None:
            raise PluginError(f"{self.kind} {name!r} of {entry.origin} is broken: {entry.error}")
        try:
            return load()
        except Exception as error:
            raise PluginError(
                f"{self.kind} {name!r} of {entry.origin} cannot be loaded: {one_line(error)}"
            ) from error

    def _found(self) -> Iterable[tuple[Entry, Callable[[], Any]]]:
        for path in self._package_files():
            yield from self._read_file(path, f"{self.package}.{path.stem}", builtin=True)
        for point in sorted(importlib.metadata.entry_points(group=self.group)):
            yield self._read_entry_point(point)
        for path in self._plugins:
            yield from self._read_file(path, None, builtin=False)

    def _package_files(self) -> list[Path]:
        spec = importlib.util.find_spec(self.package)
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        files = [file for folder in folders for file in Path(folder).glob("*.py")]
        return sorted(file for file in files if not file.stem.startswith("_"))

    def _read_file(
        self, path: Path, module: str | None, *, builtin: bool
    ) -> Iterable[tuple[Entry, Callable[[], Any]]]:
        try:
            changed = path.stat().st_mtime_ns
            names = _registered_names(path, f"register_{self.kind}", changed)
        except (SyntaxError, ValueError, OSError) as error:
            # The stem stands in for the name that could not be read; plug-in files are for both
            # kinds, and a broken one is shown once.
            if builtin or self.kind == "method":
                yield Entry(path.stem, str(path), error=one_line(error), builtin=builtin), _never
            return
        for name, summary in names:

            def load(name: str = name) -> Any:
                loaded = importlib.import_module(module) if module else _import_file(path)
                return _class_named(loaded, name)

            fault = None if builtin else _error_of(load)
            yield Entry(name, str(path), summary, fault, builtin=builtin), load

    def _read_entry_point(
        self, point: importlib.metadata.EntryPoint
    ) -> tuple[Entry, Callable[[], Any]]:
        def load() -> Any:
            cls = point.load()
            if getattr(cls, "name", "") != point.name:
                cls.name = point.name
            return cls

        package = point.dist.name if point.dist is not None else "an installed package"
        error = _error_of(load)
        summary = "" if error else _first_line(load().__doc__)
        return Entry(point.name, f"{package} ({point.value})", summary, error), load


@functools.lru_cache(maxsize=512)
def _registered_names(path: Path, decorator: str, changed: int) -> tuple[tuple[str, str], ...]:
    """Return the names and summaries of a file's components; ``changed`` only tells its states."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    names = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for call in node.decorator_list:
            if (
                isinstance(call, ast.Call)
                and (getattr(call.func, "id", None) or getattr(call.func, "attr", None))
                == decorator
                and call.args
                and isinstance(call.args[0], ast.Constant)
            ):
                names.append((str(call.args[0].value), _first_line(ast.get_docstring(node))))
    return tuple(names)


def _import_file(path: Path) -> ModuleType:
    name = f"osadbench_plugin_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _class_named(module: ModuleType, name: str) -> Any:
    for value in vars(module).values():
        # Not isinstance(): it asks a lazily loaded module for its class, which would load it.
        if issubclass(type(value), type) and vars(value).get("name") == name:
            return value
    raise ImportError(f"{module.__name__} defines no class registered as {name!r}")


def _error_of(load: Callable[[], Any]) -> str | None:
    try:
        load()
    # A script that ends with sys.exit() must not end the listing.
    except (Exception, SystemExit) as error:
        return one_line(error)
    return None


def _never() -> Any:
    raise ImportError("the file could not be read")


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n", 1)[0]


METHODS = Registry("method", "osadbench.methods", "osadbench.methods")
PROTOCOLS = Registry("protocol", "osadbench.protocols", "osadbench.protocols")
