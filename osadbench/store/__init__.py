"""The results folder, one record and one file of scores per cell: writing it, reading it."""

from osadbench.records import to_frame
from osadbench.scores import ScoreTable
from osadbench.store.files import DamagedRecordError
from osadbench.store.folder import MergeReport, Store
from osadbench.store.scan import collector_paused

__all__ = [
    "DamagedRecordError",
    "MergeReport",
    "ScoreTable",
    "Store",
    "collector_paused",
    "to_frame",
]
