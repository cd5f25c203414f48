from __future__ import annotations

import pytest
from manifest_tools import make_manifest, protocol, split_all

from osadbench.errors import DataError, ParameterError
from osadbench.protocols.contamination import contaminating
from osadbench.types import Manifest, Split

RATES = (0.0, 0.05, 0.1, 0.15, 0.2)


@pytest.fixture
def manifest() -> Manifest:
    return make_manifest({"Hole": 14, "crack": 22, "stain": 4}, train=36)


def by_rate(manifest: Manifest, shots: int = 10, seed: int = 0) -> dict[float, Split]:
    return {
        rate: split_all("contamination", manifest, seeds=[seed], shots=[shots], rate=rate)[0]
        for rate in RATES
    }


def unlabelled(manifest: Manifest, split: Split) -> set[str]:
    return {path for path in split.train_normals if manifest.by_path[path].label}


@pytest.mark.parametrize(
    ("n_normals", "counts"),
    [
        # floor(N / (1 - r) * r) by hand: 36 / .95 * .05 = 1.89, / .9 * .1 = 4, / .85 * .15 = 6.35
        (36, [0, 1, 4, 6, 9]),
        (19, [0, 1, 2, 3, 4]),
        (1131, [0, 59, 125, 199, 282]),
        (1, [0, 0, 0, 0, 0]),
    ],
)
def test_how_many_are_added(n_normals: int, counts: list[int]) -> None:
    assert [contaminating(n_normals, rate) for rate in RATES] == counts


def test_the_count_has_no_rounding_errors() -> None:
    # In floating point 41 / (1 - .18) * .18 is 8.999999999999998.
    assert contaminating(41, 0.18) == 9


def test_all_rates_share_a_test_set_and_lower_ones_are_parts_of_higher_ones(
    manifest: Manifest,
) -> None:
    splits = by_rate(manifest)
    added = [unlabelled(manifest, split) for split in splits.values()]
    assert [len(paths) for paths in added] == [0, 1, 4, 6, 9]
    assert all(fewer <= more for fewer, more in zip(added, added[1:], strict=False))
    assert len({split.test for split in splits.values()}) == 1
    assert len({split.train_anomalies for split in splits.values()}) == 1
    assert len(splits[0.0].test) == 6 + 40 - 10 - 9
    normals = {record.path for record in manifest.select(split="train", label=0)}
    for split in splits.values():
        assert set(split.train_normals) - unlabelled(manifest, split) == normals
        assert list(split.train_normals) == sorted(split.train_normals)
        trained = [*split.train_normals, *split.train_anomalies]
        assert len({*trained, *split.test}) == len(trained) + len(split.test)


def test_the_labelled_anomalies_are_those_of_the_general_setting(manifest: Manifest) -> None:
    for seed in range(3):
        (general,) = split_all("general", manifest, seeds=[seed], shots=[10])
        (split,) = split_all("contamination", manifest, seeds=[seed], shots=[10])
        assert split.train_anomalies == general.train_anomalies
        assert set(split.test) | unlabelled(manifest, by_rate(manifest, 10, seed)[0.2]) == set(
            general.test
        )


def test_fewer_shots_change_neither_the_test_set_nor_what_is_added(manifest: Manifest) -> None:
    one, ten = split_all("contamination", manifest)
    assert (one.test, one.train_normals) == (ten.test, ten.train_normals)
    assert one.train_anomalies == ten.train_anomalies[:1]


def test_all_shots_of_a_pool_share_the_test_set(manifest: Manifest) -> None:
    few, many = split_all("contamination", manifest, shots=[5, 12], pool=12)
    assert len(many.train_anomalies) == 12 and few.test == many.test
    assert not unlabelled(manifest, few) & set(many.train_anomalies)


def test_parameters() -> None:
    params = protocol("contamination", rate="0.05").params.model_dump()
    assert params == {"rate": 0.05, "max_rate": 0.2, "pool": 10}
    with pytest.raises(ParameterError, match=r"rate must be at most max_rate=0\.2: raise that"):
        protocol("contamination", rate=0.3)
    assert protocol("contamination", rate=0.3, max_rate=0.3)
    with pytest.raises(ParameterError, match=r"contamination\.rate=-0\.1"):
        protocol("contamination", rate=-0.1)
    with pytest.raises(ParameterError, match=r"contamination\.max_rate=0\.5"):
        protocol("contamination", max_rate=0.5)


def test_too_few_anomalies(manifest: Manifest) -> None:
    message = (
        r"made/box has 40 anomalies, but 31 labelled ones and 9 unlabelled ones \(rate 0.2 of 36 "
        r"normals\) must leave some to test: ask for a smaller max_rate, pool or number of shots"
    )
    with pytest.raises(DataError, match=message):
        split_all("contamination", manifest, shots=[31], rate=0.05)
    assert split_all("contamination", manifest, shots=[30], rate=0.05, pool=30)
    assert split_all("contamination", manifest, shots=[31], rate=0.05, max_rate=0.15, pool=31)
