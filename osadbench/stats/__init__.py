"""Tests between methods, sizes of effects, and intervals of single results.

SciPy is imported inside the functions that need its distributions: importing ``scipy.stats`` takes
longer than a whole report may.
"""

from __future__ import annotations

from osadbench.stats.bootstrap import bootstrap_difference, bootstrap_interval
from osadbench.stats.correction import holm, holm_of_computed
from osadbench.stats.delong import (
    AurocDifference,
    AurocInterval,
    auroc_difference,
    auroc_interval,
)
from osadbench.stats.effect import rank_biserial
from osadbench.stats.friedman import FriedmanResult, friedman_test, rank_rows
from osadbench.stats.nemenyi import indistinguishable, nemenyi_difference
from osadbench.stats.signed_rank import WilcoxonResult, wilcoxon

__all__ = [
    "AurocDifference",
    "AurocInterval",
    "FriedmanResult",
    "WilcoxonResult",
    "auroc_difference",
    "auroc_interval",
    "bootstrap_difference",
    "bootstrap_interval",
    "friedman_test",
    "holm",
    "holm_of_computed",
    "indistinguishable",
    "nemenyi_difference",
    "rank_biserial",
    "rank_rows",
    "wilcoxon",
]
