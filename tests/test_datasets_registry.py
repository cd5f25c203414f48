from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
from image_trees import write_category

from osadbench.datasets import Dataset, dataset_class, dataset_names, open_dataset
from osadbench.errors import ParameterError, UsageError


def test_the_names() -> None:
    assert dataset_names() == ["elpv", "folder", "synthetic"]


@pytest.mark.parametrize("name", dataset_names())
def test_metadata_are_complete(name: str) -> None:
    cls = dataset_class(name)
    assert cls.name == name and issubclass(cls, Dataset)
    for attribute in ("title", "task", "licence", "citation", "source"):
        value = getattr(cls, attribute)
        assert isinstance(value, str) and len(value) > 5, attribute
    assert cls.paper_image_size in (224, 448)
    assert cls.__doc__ and not inspect.isabstract(cls)
    assert all(field.default is not None for field in cls.Params.model_fields.values())


def test_a_name_may_hold_a_category(tmp_path: Path) -> None:
    write_category(tmp_path / "carpet")
    dataset, category = open_dataset("folder", tmp_path)
    assert category is None and dataset.categories() == ["carpet"]
    assert open_dataset("folder/carpet", str(tmp_path))[1] == "carpet"
    with pytest.raises(UsageError, match="folder has no category 'carpets': did you mean carpet"):
        open_dataset("folder/carpets", tmp_path)


def test_unknown_names_and_options() -> None:
    with pytest.raises(UsageError, match=r"no dataset 'elvp': did you mean elpv\? known: elpv, f"):
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
