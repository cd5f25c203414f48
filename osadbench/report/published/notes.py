"""How the results in a paper's table were made, and what to know of them."""

from __future__ import annotations

from collections.abc import Sequence

from osadbench.experiments import Experiment
from osadbench.report.facts import column_notes, facts_of
from osadbench.report.parts import Setting
from osadbench.report.provenance import origins_of, provenance_notes
from osadbench.report.published.makes import Makes
from osadbench.report.texts import ODD, counted
from osadbench.report.wording import engine_text
from osadbench.types import NO_WEIGHTS, SMOKE, Record

__all__ = ["left_out_notes", "made_of", "notes_of", "tested_notes"]


def made_of(records: Sequence[Record], makes: Makes) -> str:
    """Return preset, backbone and weights of most of the results."""
    usual = [r for r in records if r.status == "done" and not makes.oddities(r)]
    if not usual:
        return ""
    return engine_text(_setting(usual))


def _setting(records: Sequence[Record]) -> Setting:
    """Return what records of one make have in common."""
    record = next((r for r in records if r.uses_engine_backbone), records[0])
    weights = record.weights if record.uses_engine_backbone else NO_WEIGHTS
    shots = max(r.shots for r in records)
    backbone = str(record.engine.get("backbone", ""))
    return Setting("", shots, record.preset, backbone, weights, record.engine)


def notes_of(
    experiment: Experiment, records: Sequence[Record], makes: Makes, *, allow_mixed: bool
) -> tuple[str, ...]:
    """Return remarks on the table: its own, missing columns, and how columns and results differ."""
    notes = list(filter(None, [experiment.note]))
    reasons: dict[str, list[str]] = {}
    for column in experiment.columns:
        if not column.method:
            titles = reasons.setdefault(experiment.reasons[column.published], [])
            titles += [column.title] if column.title not in titles else []
    notes += [f"no results of {', '.join(titles)}: {why}" for why, titles in reasons.items()]
    if allow_mixed:
        notes += [f"results differ in {difference}" for difference in makes.differences]
    done = [record for record in records if record.status == "done"]
    if done:
        notes += _stand_ins(done)
        names = sorted({record.label for record in done})
        facts = [facts_of(name, [r for r in done if r.label == name]) for name in names]
        notes += column_notes(_setting(done), facts)
        notes += provenance_notes(origins_of(done))
    return tuple(dict.fromkeys(notes))


def tested_notes(
    records: Sequence[Record], shown: Sequence[Record], makes: Makes
) -> tuple[str, ...]:
    """Return remarks on results of other test images than is usual for their row and seed.

    Args:
        records: The table's results.
        shown: Those of them that are shown.
        makes: How they were made.
    """
    apart = [r for r in records if r.status == "done" and makes.tested_apart(r)]
    keys = {record.key for record in shown}
    marked = [record for record in apart if record.key in keys]
    hidden = [record for record in apart if record.key not in keys]
    notes = []
    if marked:
        notes.append(
            f"not to be compared, as measured on other test images than the other results of their "
            f"row and seed ({ODD}): {_counted(marked)}"
        )
    if hidden:
        notes.append(
            f"left out {_counted(hidden)} on other test images than most of their row, or than "
            "newer ones: a folder of their own shows them (-o)"
        )
    return tuple(notes)


def _counted(records: Sequence[Record]) -> str:
    names = ", ".join(sorted({record.label for record in records}))
    return f"{counted(len(records), 'result')} of {names}"


def left_out_notes(
    experiment: Experiment, records: Sequence[Record], n_smoke: int
) -> tuple[str, ...]:
    """Return remarks on results that fit a table's cells and are not shown.

    Args:
        experiment: Says the seeds.
        records: The table's results, of all seeds.
        n_smoke: Number of its results of the smoke preset beside them.
    """
    notes = []
    others = [record for record in records if record.seed not in experiment.seeds]
    if others:
        seeds = ", ".join(map(str, sorted({record.seed for record in others})))
        what = f"left out {counted(len(others), 'result')}"
        notes.append(f"{what} of other seeds than the table's: {seeds}")
    if n_smoke:
        what = f"left out {counted(n_smoke, 'result')} of preset {SMOKE}"
        notes.append(f"{what}, which measures nothing (--preset {SMOKE} shows them)")
    return tuple(notes)


def _stand_ins(records: Sequence[Record]) -> list[str]:
    """Return what ran under a label of another name, as methods do that are not quite themselves.

    Columns have the method's name; only the label says so.
    """
    names = {(record.method, record.label.partition("[")[0]) for record in records}
    return [
        f"in the column {method}, ours is {label}: osadbench describe {method} says what differs"
        for method, label in sorted(names)
        if method != label
    ]
