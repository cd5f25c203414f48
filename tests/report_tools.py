"""What the tests of reports share: records made by hand, and a cell of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from osadbench.report import Cell, Report
from osadbench.types import Record

ENGINE = {
    "preset": "frozen",
    "backbone": "tf_efficientnet_lite0",
    "image_sizes": [320, 224],
    "precision": "auto",
}


def record(
    label: str = "dra", row: str = "mono", seed: int = 0, auroc: float = 0.8, **changes: Any
) -> Record:
    """Return a done cell of the hard protocol on elpv."""
    status = changes.get("status", "done")
    values = {
        "key": f"{label}:{changes.get('dataset')}:{row}:{seed}",
        "status": status,
        "method": label.partition("[")[0],
        "label": label,
        "params": {},
        "engine": {**ENGINE, **changes.pop("engine", {})},
        "weights": "sha256:" + "ab12cd34" * 8,
        "fit_seed": 7,
        "protocol": "hard",
        "dataset": "elpv",
        "category": "",
        "known_class": row,
        "shots": 10,
        "seed": seed,
        "row": row,
        "split": {},
        "metrics": {"auroc": auroc, "ap": 0.5, "fpr95": 1 - auroc} if status == "done" else {},
        "provenance": {
            "commit": "1a2b3c4d5e6f7a8b",
            "dirty": False,
            "versions": {"torch": "2.11.0", "timm": "1.0.20"},
            "device": "cpu",
            "precision": "fp32",
            "fit_seconds": 3.0 + seed,
            "score_seconds": 1.0,
            "peak_memory_bytes": 1000 + seed,
            **changes.pop("provenance", {}),
        },
    }
    return Record(**{**values, **changes})


def grid(
    values: dict[str, dict[str, float]], *, seeds: Sequence[int] = (0, 1, 2), **changes: Any
) -> list[Record]:
    """Return done cells by label and row, with seeds .01 apart around the values."""
    middle = (len(seeds) - 1) / 2
    return [
        record(label, row, seed, mean + 0.01 * (i - middle), **changes)
        for label, rows in values.items()
        for row, mean in rows.items()
        for i, seed in enumerate(seeds)
    ]


def cell(report: Report, row: str, label: str, table: int = 0) -> Cell:
    (line,) = [r for r in report.tables[table].rows if r.name == row]
    return line.cells[report.tables[table].columns.index(label)]
