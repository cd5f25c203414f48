"""Print the papers' sweeps as measured on ELPV, as Markdown, and draw their figures.

    python benchmarks/sweeps_elpv.py results/elpv-sweeps docs/figures

Without the second folder nothing is drawn.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner
from tabulate import tabulate

from osadbench.cli import cli
from osadbench.experiments import load_experiment

#: Sweeps by the heading of their table's first column.
SWEEPS = {
    "devnet-samples": "labelled anomalies",
    "devnet-contamination": "unlabelled anomalies",
    "devnet-top-k": "K",
    "dra-references": "N_r",
}


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, and draw the figures into a folder if one is given."""
    results, *figures = map(Path, sys.argv[1:] if arguments is None else arguments)
    print("\n\n".join(tables(results)))
    for name in SWEEPS if figures else ():
        for suffix in (".pdf", ".png"):
            file = figures[0] / f"elpv-{name}{suffix}"
            _table(name, results, "--figure", str(file))
    return 0


def tables(results: Path) -> Iterator[str]:
    """Yield one Markdown table for each sweep: a line for each method, AUROC as mean±std."""
    for name, axis in SWEEPS.items():
        found: dict[str, list[str]] = {}
        columns = load_experiment(name).columns
        rows = csv.DictReader(io.StringIO(_table(name, results, "-f", "csv")))
        mine = [row for row in rows if row["dataset"] == "elpv"]
        for column, row in zip(columns, mine, strict=True):
            text = f"{float(row['mean']):.3f}±{float(row['std']):.3f}".replace("0.", ".")
            found.setdefault(column.method.partition("[")[0], []).append(text)
        heads = list(dict.fromkeys(f"{column.x:g}" for column in columns))
        lines = [[method, *values] for method, values in found.items()]
        yield tabulate(lines, [axis, *heads], tablefmt="github", disable_numparse=True)


def _table(name: str, results: Path, *options: str) -> str:
    done = CliRunner().invoke(
        cli, ["table", name, "-o", str(results), *options], catch_exceptions=False
    )
    if done.exit_code:
        raise SystemExit(f"error: osadbench table {name} failed: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
