from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from image_trees import write_category
from raw_tools import Strips, register

import osadbench
from osadbench.datasets import Dataset, dataset_class, dataset_names, open_dataset
from osadbench.datasets.counting import ANY_CLASS
from osadbench.datasets.pages import index, page
from osadbench.datasets.raw import Archive, PaperCounts, RawDataset
from osadbench.errors import ParameterError, UsageError

REGISTERED = [dataset_class(name) for name in dataset_names()]
RAW = [cls for cls in REGISTERED if issubclass(cls, RawDataset)]
POOLED = {"": {"train/good": 6, "test/good": 2, "test/*": 5}}
PAGES = Path(__file__).parent.parent / "docs" / "datasets"


def faults(cls: type[Dataset]) -> list[str]:
    """Return what a dataset's class lacks, in words."""
    found = list(_faults_of_any(cls))
    if issubclass(cls, RawDataset) and not found:
        found += _faults_of_raw(cls)
    return found


def _faults_of_any(cls: type[Dataset]) -> Iterator[str]:
    for attribute in ("name", "title", "task", "licence", "citation", "source"):
        value = getattr(cls, attribute, None)
        least = 2 if attribute == "name" else 5
        if not isinstance(value, str) or len(value) <= least or value != value.strip():
            yield f"no {attribute}"
    if getattr(cls, "paper_image_size", None) not in (224, 448):
        yield "no image size of the papers"
    if inspect.isabstract(cls) or "__doc__" not in vars(cls) or not cls.__doc__:
        yield "no docstring, or an abstract method"
    if cls.default_on_duplicate not in ("error", "warn", "drop"):
        yield "no such on_duplicate"
    if cls.default_outliers is not None and cls.default_outliers not in dataset_names():
        yield f"outliers {cls.default_outliers}, which is no dataset"
    if any(field.is_required() for field in cls.Params.model_fields.values()):
        yield "a parameter without a default"


def _faults_of_raw(cls: type[RawDataset]) -> Iterator[str]:
    for attribute in ("layout", "download"):
        value = getattr(cls, attribute, None)
        if not isinstance(value, str) or len(value) <= 5:
            yield f"no {attribute}"
    if not isinstance(vars(cls).get("counts"), Mapping):
        yield "no counts"
        return
    for category, counts in cls.counts.items():
        yield from (f"{category}: {text}" for text in _faults_of_counts(counts))
    for category in {*cls.counts, *cls.fewest}:
        counts, fewest = cls.counts.get(category, {}), cls.fewest.get(category)
        if (fewest is not None) != (f"test/{ANY_CLASS}" in counts):
            yield f"{category}: classes are to be named where only all together are counted"
        elif fewest and sum(filter(None, fewest.values())) > counts[f"test/{ANY_CLASS}"]:
            yield f"{category}: more in the classes than in all"
    for category, names in cls.known.items():
        if not names or category not in cls.counts:
            yield f"known classes of {category!r}, which has none"
        if not set(names) <= _classes(cls, category):
            yield f"{category}: known classes that are not counted"
    if set(cls.paper_counts) - set(cls.counts):
        yield "counts of the papers for a category that is not there"
    if not 0 <= cls.mask_threshold < 255 or not isinstance(cls.has_masks, bool):
        yield "no such masks"
    for archive in cls.archives:
        if not re.fullmatch("[0-9a-f]{64}", archive.sha256) or not archive.url.startswith("http"):
            yield f"an archive without address or hash: {archive.url}"


def _classes(cls: type[RawDataset], category: str) -> set[str]:
    """Return the anomaly classes that a category declares."""
    counted = {name.partition("/")[2] for name in cls.counts.get(category, {})}
    return {*counted, *cls.fewest.get(category, {})} - {"good", ANY_CLASS}


def _faults_of_counts(counts: Mapping[str, int]) -> Iterator[str]:
    if not counts.get("train/good") or not counts.get("test/good"):
        yield "no normal images counted"
    if sum(counts.values()) == counts.get("train/good", 0) + counts.get("test/good", 0):
        yield "no anomalies counted"
    for name, count in counts.items():
        if not re.fullmatch(r"train/good|test/[^/]+", name) or count <= 0:
            yield f"{name} {count}"


def test_the_names() -> None:
    assert {"elpv", "folder", "synthetic"} <= set(dataset_names())
    assert [cls.name for cls in REGISTERED] == dataset_names() == sorted(dataset_names())


@pytest.mark.parametrize("cls", REGISTERED, ids=lambda cls: str(cls.name))
def test_declarations_are_complete(cls: type[Dataset]) -> None:
    assert faults(cls) == []


@pytest.mark.parametrize("cls", RAW, ids=lambda cls: str(cls.name))
def test_aliases_name_classes(cls: type[RawDataset]) -> None:
    classes = {name for category in cls.counts for name in _classes(cls, category)}
    assert set(cls.aliases.values()) <= classes
    assert not set(cls.aliases) & classes


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"licence": ""}, "no licence"),
        ({"citation": " somebody "}, "no citation"),
        ({"paper_image_size": 320}, "no image size of the papers"),
        ({"__doc__": ""}, "no docstring"),
        ({"default_outliers": "nothing"}, "outliers nothing, which is no dataset"),
        ({"default_on_duplicate": "ignore"}, "no such on_duplicate"),
        ({"layout": ""}, "no layout"),
        ({"counts": None}, "no counts"),
        ({"counts": {"": {"train/good": 3, "test/hole one": 1}}}, ": no normal images counted"),
        ({"counts": {"": {"train/good": 3, "test/good": 1}}}, ": no anomalies counted"),
        ({"counts": {"": {"train/good": 3, "test/good": 1, "hole": 1}}}, ": hole 1"),
        ({"known": {"": ("crack",)}}, ": known classes that are not counted"),
        ({"counts": POOLED}, ": classes are to be named where only all together are counted"),
        ({"fewest": {"": {"hole one": 3}}}, ": classes are to be named where only all"),
        ({"counts": POOLED, "fewest": {"": {"hole one": 4, "tear": 2}}}, ": more in the classes"),
        ({"known": {"other": ("tear",)}}, "known classes of 'other', which has none"),
        ({"paper_counts": {"other": PaperCounts(1, 1, 1)}}, "counts of the papers for a category"),
        ({"mask_threshold": 255}, "no such masks"),
        ({"archives": (Archive("https://a.b/c.zip", "12"),)}, "an archive without address or"),
    ],
)
def test_a_missing_declaration_is_found(change: dict[str, Any], fault: str) -> None:
    own = {"counts": Strips.counts, "__doc__": Strips.__doc__}
    (found,) = faults(type("Changed", (Strips,), {**own, **change}))[:1]
    assert found.startswith(fault)
    assert faults(type("Same", (Strips,), own)) == []


@pytest.mark.parametrize("name", dataset_names())
def test_the_page_is_the_declaration(name: str) -> None:
    committed = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert committed == page(name), "write them by python -m osadbench.datasets.pages docs/datasets"


def test_the_list_of_pages_is_complete() -> None:
    assert (PAGES / "README.md").read_text(encoding="utf-8") == index()
    assert {path.stem for path in PAGES.glob("*.md")} == {*dataset_names(), "README"}


def test_a_page_says_what_the_class_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    text = page("strips")
    for line in (
        "# Strips of a test",
        "| licence | made-up licence 1.0 |",
        "| masks | pixels above 0 are anomalous |",
        "| groups | strips |",
        "- Download: ask for strips.zip at https://example.org/strips.",
        "osadbench data check strips --data-root DIR",
        "| - | 6/2/5 | 6/2/6 |",
        "| - | hole one | 3 | yes | pit |",
        "| - | tear | 2 | no |  |",
    ):
        assert f"\n{line}\n" in f"\n{text}", line
    assert "| [strips](strips.md) | Strips of a test | 6/2/5 | 6/2/6 | made-up" in index()


def test_pages_need_a_folder(run_python: Callable[..., str]) -> None:
    code = (
        "import runpy\n"
        "try:\n"
        "    runpy.run_module('osadbench.datasets.pages', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(end.code)\n"
    )
    assert run_python(code, path=Path(osadbench.__file__).parents[1]) == "2\n"


def test_pages_are_written_where_asked(tmp_path: Path, run_python: Callable[..., str]) -> None:
    code = "import runpy, sys; runpy.run_module('osadbench.datasets.pages', run_name='__main__')"
    assert run_python(code, str(tmp_path / "pages")) == ""
    names = {path.name for path in (tmp_path / "pages").iterdir()}
    assert names == {"README.md", *(f"{name}.md" for name in dataset_names())}


def test_a_name_may_hold_a_category(tmp_path: Path) -> None:
    write_category(tmp_path / "carpet")
    dataset, category = open_dataset("folder", tmp_path)
    assert category is None and dataset.categories() == ["carpet"]
    assert open_dataset("folder/carpet", str(tmp_path))[1] == "carpet"
    with pytest.raises(UsageError, match="folder has no category 'carpets': did you mean carpet"):
        open_dataset("folder/carpets", tmp_path)


def test_unknown_names_and_options() -> None:
    with pytest.raises(UsageError, match=r"no dataset 'elvp': did you mean elpv\? known: .*elpv"):
        open_dataset("elvp")
    with pytest.raises(ParameterError, match="elpv has no parameter 'sizes'"):
        open_dataset("elpv", sizes=3)
    with pytest.raises(ParameterError, match=r"elpv\.strict_counts='perhaps'"):
        open_dataset("elpv", strict_counts="perhaps")


def test_options_may_come_as_text() -> None:
    dataset, _ = open_dataset("elpv", strict_counts="true", on_duplicate="drop")
    assert dataset.options.strict_counts is True and dataset.options.on_duplicate == "drop"


def test_importing_is_light(run_python: Callable[..., str]) -> None:
    code = (
        "import sys, osadbench.datasets, osadbench.datasets.check\n"
        "print([m for m in ('torch', 'pandas', 'sklearn', 'scipy') if m in sys.modules])"
    )
    assert run_python(code) == "[]\n"
