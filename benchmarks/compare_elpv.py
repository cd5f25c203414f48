"""Print measured ELPV results beside the published ones, as Markdown.

    python benchmarks/compare_elpv.py results/elpv-frozen

The published values are those of ``results/published``. The difference is ours minus published.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from osadbench.report import build_report
from osadbench.store import Store
from osadbench.types import Record

ROOT = Path(__file__).parent.parent
#: Tables by the setting they print, in order of preference.
TABLES = {
    "general": ("dra_table1", "dra_table7", "devnet_table2", "ahl_table1", "ahl_table4"),
    "hard": ("dra_table2", "dra_table8", "ahl_table2"),
}
#: Columns whose published name is another one.
PUBLISHED_NAMES = {
    "ahl": "ahl_dra",
    "ahl[base=devnet]": "ahl_devnet",
    "deepsad-frozen": "deepsad",
    "dsvdd-frozen": "dsvdd",
    "mlep-img": "mlep",
}
#: From the papers' methods, in the order of their tables, to the controls; KDAD has no frozen form.
METHODS = (
    "dra", "devnet", "flos", "saoe", "mlep-img", "mlep-img[score=reconstruction]",
    "deepsad-frozen", "minns", "ahl", "ahl[base=devnet]", "kdad", "dsvdd-frozen", "patchcore",
    "featdistill", "knn", "meanfeature", "untrained",
)  # fmt: skip
ROWS = (("general", "elpv"), ("hard", "mean"), ("hard", "mono"), ("hard", "poly"))
TITLES = {
    "elpv": "General protocol",
    "mean": "Hard protocol, mean of both known classes",
    "mono": "Hard protocol, mono known",
    "poly": "Hard protocol, poly known",
}
#: A difference that wants an explanation.
WIDE = 0.05


class Value(NamedTuple):
    """A mean and its standard deviation; either may be missing."""

    mean: float | None
    std: float | None

    def __str__(self) -> str:
        if self.mean is None:
            return "–"
        spread = "" if self.std is None else f"±{self.std:.3f}".replace("0.", ".")
        return f"{self.mean:.3f}".replace("0.", ".") + spread


def published(setting: str, row: str, shots: int, method: str) -> Value:
    """Return the papers' value of a method, or an empty one where they print none."""
    name = PUBLISHED_NAMES.get(method, method)
    subset = "" if row in ("elpv", "mean") else row
    for table in TABLES[setting]:
        with (ROOT / "results" / "published" / f"{table}.csv").open(encoding="utf-8") as file:
            for line in csv.DictReader(file):
                if (
                    (line["dataset"], line["subset"], line["method"]) == ("elpv", subset, name)
                    # Methods that use no labels are printed once.
                    and line["shots"] in ("", str(shots))
                ):
                    return Value(float(line["mean"]), float(line["std"]) if line["std"] else None)
    return Value(None, None)


def measured(records: list[Record]) -> dict[tuple[str, str, int, str], Value]:
    """Return our values by setting, row, shots and column."""
    return {
        (table.setting.protocol, row.name, table.setting.shots, cell.label): Value(
            cell.mean, cell.std
        )
        for table in build_report(records).tables
        for row in table.rows
        for cell in row.cells
    }


class Pair(NamedTuple):
    """Our value and the published one."""

    ours: Value
    papers: Value

    @property
    def difference(self) -> float | None:
        """Ours minus published, of the means as printed; None where one is missing."""
        if self.ours.mean is None or self.papers.mean is None:
            return None
        return round(round(self.ours.mean, 3) - round(self.papers.mean, 3), 3)

    def texts(self) -> list[str]:
        """Return both values and their difference as printed."""
        shown = "–" if self.difference is None else f"{self.difference:+.3f}".replace("0.", ".", 1)
        return [str(self.ours), str(self.papers), shown]


def pairs(records: list[Record]) -> dict[tuple[str, str, int, str], Pair]:
    """Return our values with the published ones by setting, row, shots and column."""
    ours = measured(records)
    return {
        (setting, row, shots, name): Pair(
            ours.get((setting, row, shots, name), Value(None, None)),
            published(setting, row, shots, name),
        )
        for setting, row in ROWS
        for shots in (1, 10)
        for name in METHODS
    }


def comparison(records: list[Record]) -> str:
    """Return one Markdown table for each setting and row."""
    found = pairs(records)
    headers = ["AUROC"]
    headers += [f"{what}, {s}" for s in ("1 shot", "10 shots") for what in ("ours", "papers", "Δ")]
    parts = []
    for setting, row in ROWS:
        lines = [
            [name, *found[setting, row, 1, name].texts(), *found[setting, row, 10, name].texts()]
            for name in METHODS
        ]
        parts.append(f"### {TITLES[row]}\n\n" + tabulate(lines, headers, tablefmt="github"))
    return "\n\n".join(parts) + "\n"


def summary(records: list[Record]) -> str:
    """Return the short table of the README: ten shots, general and mean of hard."""
    found = pairs(records)
    headers = ["ten shots", "general", "papers", "hard", "papers"]
    lines = [
        [name] + [str(value) for place in ROWS[:2] for value in found[(*place, 10, name)]]
        for name in METHODS
        if name != "kdad"
    ]
    return str(tabulate(lines, headers, tablefmt="github"))


def wide_gaps(records: list[Record]) -> dict[str, list[tuple[str, int, float]]]:
    """Return the gaps over .05 by column: the row's name, the shots and the difference."""
    gaps: dict[str, list[tuple[str, int, float]]] = {}
    for (_, row, shots, name), pair in pairs(records).items():
        if pair.difference is not None and abs(pair.difference) > WIDE:
            gaps.setdefault(name, []).append((row, shots, pair.difference))
    return gaps


if __name__ == "__main__":
    print(comparison(Store(sys.argv[1]).records()), end="")
