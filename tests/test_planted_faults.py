"""Each planted fault turns its check red, and every method of the package has some.

``-k methods_knn`` runs those of one file.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch
from planted_faults import Check, Fault

from osadbench.registry import METHODS

#: The lists of the test files beside this one, by their modules' names.
LISTS: dict[str, list[Fault]] = {
    path.stem: importlib.import_module(path.stem).FAULTS
    for path in sorted(Path(__file__).parent.glob("test_*.py"))
    if re.search(r"^FAULTS\b", path.read_text("utf-8"), flags=re.MULTILINE)
}
EACH_FAULT = [
    pytest.param(fault, id=f"{module.removeprefix('test_')}: {fault.what}")
    for module, faults in LISTS.items()
    for fault in faults
]
CHECKS: dict[str, Check] = {
    f"{module.removeprefix('test_')}: {fault.check.__name__}": fault.check
    for module, faults in LISTS.items()
    for fault in faults
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_without_a_fault_its_check_passes(check: Check) -> None:
    check()


@pytest.mark.parametrize("fault", EACH_FAULT)
def test_a_planted_fault_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault.target, fault.attribute, fault.replacement)
    with pytest.raises(AssertionError):
        fault.check()


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_has_two_faults_or_more(name: str) -> None:
    file = METHODS.get(name).__module__.rpartition(".")[2]
    # Variants of methods, and the network without training, have one test file for all.
    shared = file == "untrained" or file.endswith("_variants")
    module = "test_methods_variants" if shared else f"test_methods_{file}"
    found = len(LISTS.get(module, []))
    assert found >= 2, f"{name}: expected two or more FAULTS in tests/{module}.py, got {found}"
    own = [fault for fault in LISTS.get(module, []) if fault.target is METHODS.get(name)]
    assert own or not shared, f"{name}: expected a fault in the class itself in tests/{module}.py"
