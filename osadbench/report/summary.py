"""Tables of tables: a line for the mean of each dataset, or of each protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from osadbench.params import canonical_json
from osadbench.report.parts import Cell, Row, Setting, Table
from osadbench.report.tables import Options, Part, finish_table
from osadbench.report.wording import setting_text
from osadbench.types import Record

__all__ = ["by_dataset", "by_protocol"]


def by_dataset(setting: Setting, parts: Sequence[Part], options: Options) -> Part:
    """Return one table for a setting: of each dataset, the mean over its rows, or its only row.

    Raises:
        StoreError: The records of the parts are mixed.
    """
    lines = {part.table.dataset: part for part in parts}
    return _summary(setting, "means by dataset", lines, options)


def by_protocol(parts: Sequence[Part], options: Options) -> list[Part]:
    """Return a table for each engine and weights: of each protocol and shots, the mean of datasets.

    Args:
        parts: What :func:`by_dataset` returned for all settings.
        options: What all tables have in common.

    Raises:
        StoreError: The records of the parts are mixed.
    """
    groups: dict[tuple[str, str, str, int], dict[str, Part]] = {}
    for part in parts:
        own = part.table.setting
        key = (own.preset, canonical_json(own.engine), own.weights, own.images)
        groups.setdefault(key, {})[setting_text(own)] = part
    found = []
    for lines in groups.values():
        first = next(iter(lines.values())).table.setting
        setting = replace(first, protocol="", shots=0)
        found.append(_summary(setting, "means by protocol", lines, options))
    return found


def _summary(setting: Setting, title: str, lines: Mapping[str, Part], options: Options) -> Part:
    present = {label for part in lines.values() for label in part.table.columns}
    labels = tuple(label for label in options.columns if label in present)
    footnotes = dict.fromkeys(note for part in lines.values() for note in part.table.footnotes)
    seeds = sorted({seed for part in lines.values() for seed in part.table.seeds})
    table = Table(
        setting,
        title,
        options.metric,
        labels,
        tuple(seeds),
        tuple(
            Row(name, tuple(_cell(part.table, label, list(footnotes)) for label in labels))
            for name, part in lines.items()
        ),
        footnotes=tuple(footnotes),
    )
    values = {
        (name, label): by_seed
        for name, part in lines.items()
        for label, by_seed in part.by_seed.items()
    }
    members: dict[tuple[str, str], list[Record]] = {}
    for name, part in lines.items():
        for record in part.records:
            members.setdefault((name, record.label), []).append(record)
    # A method without labels stands in the tables of all shots.
    records = {id(record): record for part in lines.values() for record in part.records}
    return finish_table(table, values, members, list(records.values()), options)


def _cell(table: Table, label: str, footnotes: Sequence[str]) -> Cell:
    """Return a method's cell in the last row of a table, with the footnotes of all its rows."""
    if label not in table.columns:
        return Cell(label, None, None, 0, len(table.seeds))
    index = table.columns.index(label)
    cells = [row.cells[index] for row in table.rows]
    notes = sorted({footnotes.index(table.footnotes[n - 1]) + 1 for c in cells for n in c.notes})
    return replace(cells[-1], notes=tuple(notes), mark="")
