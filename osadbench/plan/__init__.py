"""From what the user asked for to the list of cells, each with its key. Needs no torch."""

from osadbench.plan.cell import Cell
from osadbench.plan.columns import image_sizes_on, method_label
from osadbench.plan.planning import RERUN_POLICIES, Estimate, Lack, Plan, join_plans, make_plan
from osadbench.plan.request import Component, Request
from osadbench.plan.splits import make_splits, protocol_label

__all__ = [
    "RERUN_POLICIES",
    "Cell",
    "Component",
    "Estimate",
    "Lack",
    "Plan",
    "Request",
    "image_sizes_on",
    "join_plans",
    "make_plan",
    "make_splits",
    "method_label",
    "protocol_label",
]
