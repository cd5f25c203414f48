"""Named experiments: they hold the papers' tables whole, and name what there is to run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from osadbench.errors import UsageError
from osadbench.experiments import (
    Column,
    Job,
    RowSpec,
    experiment_jobs,
    experiment_names,
    experiment_rows,
    has_cell,
    load_experiment,
    places,
    read_experiment,
)
from osadbench.params import parse_component
from osadbench.published import dataset_counts, load, table_names
from osadbench.registry import METHODS
from osadbench.settings import PRESETS

#: A small experiment to break.
SMALL = """
title = "Small"
source = "nowhere"
seeds = [0, 1]
columns = [
    { heading = "a", method = "knn" },
    { heading = "b", method = "dra", shots = 1 },
    { heading = "c", method = "dra", shots = 10 },
]

[[blocks]]
setting = "hard"
protocol = "hard"
rows = ["elpv/*", "elpv/mean"]
"""

COLUMNS = [
    pytest.param(column, id=f"{name}:{column.title}")
    for name in experiment_names()
    for column in load_experiment(name).columns
    if column.method
]


def row(name: str, experiment: str) -> RowSpec:
    (found,) = [r for r in experiment_rows(load_experiment(experiment)) if r.name == name]
    return found


def test_there_is_an_experiment_for_every_table() -> None:
    names = experiment_names()
    assert set(table_names()) <= set(names)
    assert names.index("ahl-9") + 1 == names.index("ahl-10")
    assert not any(name.startswith("_") for name in names)


@pytest.mark.parametrize("table", table_names())
def test_the_cells_of_an_experiment_are_those_of_its_table(table: str) -> None:
    experiment = load_experiment(table)
    assert (experiment.published, experiment.seeds) == (table, (0, 1, 2))
    cells = [
        (
            column.setting or row.block.setting,
            row.dataset,
            row.subset,
            row.aggregate,
            column.published,
            column.shots,
            column.pseudo_source,
            column.source or (row.subset if column.setting else ""),
        )
        for row in experiment_rows(experiment)
        for column in experiment.columns
        if has_cell(row, column)
    ]
    # DRA's Table 9 names the target as the source of methods that have none.
    printed = [
        (v.setting, v.dataset, v.subset, v.aggregate or is_whole_mvtec(v.dataset, v.subset))
        + (v.method, v.shots, v.pseudo_source, v.source)
        for v in load(table)
    ]
    # PatchCore has no value for one of the datasets.
    lacking = {("ahl-4", "patchcore"): 1}
    missing = [cell for cell in cells if cell not in printed]
    assert not set(printed) - set(cells)
    assert len(missing) == sum(n for (name, _), n in lacking.items() if name == table), missing
    assert len(cells) == len(set(cells))


def is_whole_mvtec(dataset: str, subset: str) -> bool:
    return dataset == "mvtec" and not subset


def test_rows_stand_in_the_order_of_the_paper() -> None:
    for table in ("dra-1", "dra-2", "dra-8", "devnet-2", "devnet-3", "ahl-1", "ahl-8"):
        printed = dict.fromkeys((v.dataset, v.subset) for v in load(table))
        rows = [(r.dataset, r.subset) for r in experiment_rows(load_experiment(table))]
        assert rows == list(printed)


def test_columns_stand_in_the_order_of_the_paper() -> None:
    for table in ("dra-1", "dra-2", "dra-3", "devnet-2", "devnet-5", "ahl-1", "ahl-7"):
        printed = dict.fromkeys((v.method, v.shots) for v in load(table))
        columns = load_experiment(table).columns
        assert [(c.published, c.shots) for c in columns] == list(printed)


@pytest.mark.parametrize("column", COLUMNS)
def test_the_method_of_a_column_takes_its_parameters(column: Column) -> None:
    name, given = parse_component(column.method)
    cls = METHODS.get(name)
    for preset in PRESETS:
        cls.resolve_params(preset, given)
    # A column without shots is of a method without labels, and the other way round.
    assert cls.supervised == (column.cell_shots is not None)


def test_exceptions_give_parameters_that_their_methods_take() -> None:
    for name in experiment_names():
        for exception in load_experiment(name).exceptions:
            for method in exception.methods:
                METHODS.get(method).resolve_params("paper", exception.parameters)


def test_categories_are_those_of_the_papers_table_of_datasets() -> None:
    counted = [c.subset for c in dataset_counts("dra-5") if c.dataset == "mvtec" and c.subset]
    assert list(places()["mvtec"].categories) == counted
    assert sum(len(place.classes) for place in places().values()) == 30


def test_members_of_rows() -> None:
    mean = row("carpet/mean", "dra-2")
    assert mean.aggregate
    assert set(mean.places) == {"mvtec/carpet"}
    assert len(mean.members) == 5
    metal = row("carpet/metal", "dra-2").members[0]
    assert metal.holds("mvtec", "carpet", "metal_contamination")
    assert metal.holds("mvtec", "carpet", "metal")
    assert not metal.holds("mvtec", "carpet", "color")
    assert not metal.holds("mvtec", "grid", "metal")
    grid = row("mvtec/grid", "dra-1").members[0]
    assert grid.holds("mvtec", "grid", "") and not grid.holds("mvtec", "grid", "bent")
    assert row("mastcam/broken_rock", "dra-2").members[0].holds("mastcam", "", "Broken-rock")
    assert row("mvtec/mean", "dra-3").members == row("mvtec/mean", "dra-1").members
    assert len(set(row("mvtec/mean", "dra-3").places)) == 15


def test_jobs_gather_what_needs_the_same() -> None:
    (job,) = experiment_jobs(read_experiment("small", SMALL))
    assert job == Job(("elpv",), "hard", "", ("knn", "dra"), (1, 10), 2, ("knn",))
    # Two seeds, two known classes, knn once and DRA twice.
    assert job.cells(2) == 2 * 2 * 3


def test_medical_images_take_external_outliers_for_dra() -> None:
    jobs = [j for j in experiment_jobs(load_experiment("dra-1")) if j.datasets == ("headct",)]
    (job,) = jobs
    assert "dra[pseudo=external]" in job.methods
    assert "dra" not in job.methods


def test_outliers_are_named_where_they_are_the_point_of_a_column() -> None:
    jobs = [j for j in experiment_jobs(load_experiment("dra-4")) if j.datasets == ("elpv",)]
    assert [(j.outliers, j.methods) for j in jobs] == [
        ("", ("dra[pseudo=cutpaste-scar]", "dra[pseudo=cutpaste-mix]", "dra")),
        ("mvtec", ("dra[pseudo=external]",)),
        ("lag", ("dra[pseudo=external]",)),
    ]


def test_no_category_is_source_and_target_at_once() -> None:
    jobs = experiment_jobs(load_experiment("dra-9"))
    (crossed,) = [job for job in jobs if job.protocol == "cross-domain"]
    textures = ("carpet", "grid", "leather", "tile", "wood")
    assert crossed.datasets == tuple(f"mvtec/{name}" for name in sorted(textures))
    assert (crossed.methods, crossed.shots, crossed.splits) == (("dra",), (10,), 5 * 4)
    assert [job.datasets for job in jobs if job is not crossed] == [
        (name,) for name in crossed.datasets
    ]


def test_columns_without_a_counterpart_run_nothing() -> None:
    methods = {m for job in experiment_jobs(load_experiment("ahl-5")) for m in job.methods}
    assert methods == {"dra", "dra[pseudo=external]", "ahl"}


def test_localisation_takes_all_columns_of_its_table() -> None:
    experiment = load_experiment("devnet-4")
    jobs = experiment_jobs(experiment)
    assert experiment.metric == "pixel_auroc"
    assert [job.datasets for job in jobs] == [(f"mvtec/{n}",) for n in places()["mvtec"].categories]
    assert {method for job in jobs for method in job.methods} == {"kdad", "flos", "minns", "devnet"}
    assert {job.shots for job in jobs} == {(10,)}


def test_the_page_on_the_papers_lists_every_experiment_and_its_cells() -> None:
    text = (Path(__file__).parent.parent / "docs" / "reproduce.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([\w-]+)` \|.*\| ([\d,]+) \|$", text, re.MULTILINE))
    for name in experiment_names():
        experiment = load_experiment(name)
        cells = sum(job.cells(len(experiment.seeds)) for job in experiment_jobs(experiment))
        assert listed.pop(name) == f"{cells:,}"
    assert not listed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds = [0, 1]", "", "seeds: Field required"),
        ("seeds = [0, 1]", "seeds = [-1]", "seeds.0: Input should be greater than or equal to 0"),
        ("seeds = [0, 1]", "seeds = []", "seeds: Tuple should have at least 1 item"),
        ('title = "Small"', 'titel = "Small"', "title: Field required; titel: Extra inputs"),
        ("shots = 10", 'shots = "ten"', "columns.2.shots: Input should be a valid integer"),
        ("shots = 10", "shots = 0", "columns.2.shots: Input should be greater than or equal to 1"),
        ('heading = "a", ', "", "columns.0: Value error, a column needs published or heading"),
        ('"a", method = "knn"', '"a"', "column 'a' needs a method or a reason, and not both"),
        ('["elpv/*", "elpv/mean"]', '["elvp"]', "no place 'elvp': did you mean elpv"),
        ('source = "nowhere"', "source =", "experiment small is no TOML: Invalid value"),
        ('source = "nowhere"', 'source = "x"\npublished = "dra-1"', "'a' has no published name"),
        ("seeds = [0, 1]", 'seeds = [0]\naxis = "K"', "column 'a' needs x where there is an axis"),
        ("shots = 10 }", "shots = 10, x = 3 }", "column 'c' needs x where there is an axis, only"),
        ("[[blocks]]", '[reasons]\nz = "y"\n[[blocks]]', "reasons name 'z', which is no column"),
    ],
)
def test_a_wrong_experiment_is_refused(old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(UsageError, match=re.escape(message)):
        read_experiment("small", SMALL.replace(old, new))


def test_a_row_of_a_subset_that_is_not_there() -> None:
    text = SMALL.replace("elpv/mean", "elpv/mnoo")
    with pytest.raises(UsageError, match="elpv has no subset 'mnoo': did you mean mono"):
        experiment_rows(read_experiment("small", text))


def test_an_experiment_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no experiment 'dra-22': did you mean dra-2"):
        load_experiment("dra-22")
