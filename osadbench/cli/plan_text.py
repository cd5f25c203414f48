"""Plans in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from osadbench.plan import Cell, Estimate, Lack, Plan
from osadbench.report.texts import counted

__all__ = ["duration", "lack_lines", "outlier_lines", "plan_lines"]


def plan_lines(plan: Plan, estimate: Estimate) -> Iterator[str]:
    """Yield the lines of ``osadbench plan``: every cell with its state, then the counts."""
    pending = {id(cell) for cell in plan.pending}
    states = [_state(cell, plan, id(cell) in pending) for cell in plan.cells]
    for cell, state in zip(plan.cells, states, strict=True):
        yield f"{state:<8} {cell.key[:12] or '-':<12}  {cell}"
    for line in plan.missing:
        yield f"missing here: {line}"
    yield from outlier_lines(plan)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(Counter(states).items()))
    what = f"{counted(len(states), 'cell')}: {counts}" if states else "0 cells"
    yield f"{what}; {len(pending)} will be computed"
    if plan.pending:
        yield f"time on one worker, features cached: {_time_text(estimate)}"


def _time_text(estimate: Estimate) -> str:
    if not estimate.unknown:
        return duration(estimate.seconds)
    names = ", ".join(estimate.unknown)
    why = f"for this folder has no time of {names}"
    if not estimate.cells:
        return f"unknown, {why}"
    rest = counted(sum(estimate.unknown.values()), "cell")
    known = f"{duration(estimate.seconds)} for {counted(estimate.cells, 'cell')}"
    return f"{known}; unknown for {rest}, {why}"


def outlier_lines(plan: Plan) -> Iterator[str]:
    """Yield a line for each set of external outliers that the pending cells train on."""
    for outliers in plan.outliers:
        yield f"external outliers: {len(outliers)} images of {outliers.source}"


def lack_lines(lacks: Iterable[Lack]) -> Iterator[str]:
    """Yield a line for each thing that isn't here, with the number of cells that need it."""
    for lack in lacks:
        yield f"can't run {counted(lack.cells, 'cell')}: {lack.what}: {lack.why}"


def _state(cell: Cell, plan: Plan, pending: bool) -> str:
    """Return "to run", "done", "skipped", "retry", "failed", "damaged", "rerun" or "missing"."""
    if cell.key in plan.damaged:
        return "damaged"
    if cell.key in plan.failed:
        return "retry" if pending else "failed"
    if cell.key in plan.done:
        return "rerun" if pending else plan.done[cell.key].status
    return "to run" if pending else "missing"


def duration(seconds: float) -> str:
    """Return seconds as ``"50 s"``, ``"12 min"`` or ``"3.4 h"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
