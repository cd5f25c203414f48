"""The results folder, one record and one file of scores per cell: writing it, reading it."""

from osadbench.store.folder import MergeReport, Store
from osadbench.store.scan import collector_paused

__all__ = [
    "MergeReport",
    "Store",
    "collector_paused",
]
