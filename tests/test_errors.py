from __future__ import annotations

import pytest

from osadbench import errors
from osadbench.errors import OsadbenchError, did_you_mean, first_of, one_line

EXIT_CODES = {
    "OsadbenchError": 1,
    "ContractError": 1,
    "NotFittedError": 1,
    "WorkerDiedError": 1,
    "UsageError": 2,
    "ParameterError": 2,
    "PluginError": 2,
    "PrecheckError": 3,
    "DataError": 3,
    "WeightsError": 3,
    "StoreError": 3,
    "OtherSchemaError": 3,
    "DamagedRecordError": 3,
    "CacheError": 3,
    "CheckFailedError": 4,
}


def test_every_error_has_one_root_and_its_exit_code() -> None:
    classes = {name: getattr(errors, name) for name in errors.__all__ if name.endswith("Error")}
    assert all(issubclass(cls, OsadbenchError) for cls in classes.values())
    assert {name: cls.exit_code for name, cls in classes.items()} == EXIT_CODES


def test_contract_errors_are_value_errors() -> None:
    # So that code written against scikit-learn's conventions catches them.
    with pytest.raises(ValueError, match="as it is"):
        raise errors.NotFittedError("as it is")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("no disk\nleft"), "OSError: no disk"),
        (ValueError("\n here "), "ValueError: here"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_error_in_one_line(error: Exception, text: str) -> None:
    assert one_line(error) == text


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("dar", ["devnet", "dra", "knn"], "did you mean dra? known: devnet, dra, knn"),
        ("DRA", ["dra"], "did you mean dra? known: dra"),
        ("elpv", ["ELPV", "MVTec"], "did you mean ELPV? known: ELPV, MVTec"),
        ("dev", ["dev1", "dev2"], "did you mean dev1 or dev2? known: dev1, dev2"),
        ("zzz", ["knn", "dra"], "known: dra, knn"),
        ("dra", [], "known: none"),
    ],
)
def test_did_you_mean(name: str, known: list[str], text: str) -> None:
    assert did_you_mean(name, iter(known)) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c", "d"], "a, b and 2 more")],
)
def test_the_first_of_many(names: list[str], text: str) -> None:
    assert first_of(names, 2) == text


def test_at_most_three_names_are_offered() -> None:
    text = did_you_mean("net", ["net1", "net2", "net3", "net4"])
    assert text.split("?")[0].count(" or ") == 2
