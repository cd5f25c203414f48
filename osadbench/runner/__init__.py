"""Running cells: fit, score, measure, record. One cell's failure stops no other."""

from osadbench.runner.cell import run_cell
from osadbench.runner.many import Options, run_cells
from osadbench.runner.precompute import precompute

__all__ = ["Options", "precompute", "run_cell", "run_cells"]
