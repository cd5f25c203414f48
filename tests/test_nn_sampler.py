from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from osadbench.nn.random import isolated_rng
from osadbench.nn.sampler import (
    NORMAL,
    OUTLIER,
    PSEUDO,
    SEEN,
    BalancedSampler,
    Sampler,
    ShuffledSampler,
    normals_only,
)

#: 30 normals and 10 anomalies, anomalies at 0, 4, 8, ..., 36.
LABELS = torch.tensor([1, 0, 0, 0] * 10)
NORMALS = set(torch.nonzero(LABELS == 0).flatten().tolist())
ANOMALIES = set(range(0, 40, 4))
#: The same with five external outliers behind.
WITH_OUTLIERS = torch.cat([LABELS, torch.full((5,), 2)])
OUTLIERS = set(range(40, 45))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def sampler(labels: Tensor = LABELS, batch_size: int = 48, pseudo: float = 0) -> BalancedSampler:
    return BalancedSampler(labels, batch_size=batch_size, pseudo_probability=pseudo)


def drawn(source: Sampler, n: int) -> tuple[Tensor, Tensor]:
    batches = [source.draw() for _ in range(n)]
    indices, codes = zip(*batches, strict=True)
    return torch.stack(indices), torch.stack(codes)


def test_half_the_batch_is_normal_and_half_is_seen() -> None:
    indices, codes = drawn(sampler(), 5)
    assert (codes[:, :24] == NORMAL).all()
    assert (codes[:, 24:] == SEEN).all()
    assert codes.shape == indices.shape == (5, 48)
    assert set(indices[:, :24].flatten().tolist()) <= NORMALS
    assert set(indices[:, 24:].flatten().tolist()) <= ANOMALIES


@pytest.mark.parametrize(("batch_size", "normal", "seen"), [(2, 1, 1), (5, 3, 2), (12, 6, 6)])
def test_other_batch_sizes(batch_size: int, normal: int, seen: int) -> None:
    codes = sampler(batch_size=batch_size).draw()[1]
    assert torch.bincount(codes).tolist() == [normal, seen]


def test_nothing_comes_twice_within_a_cycle() -> None:
    indices, _ = drawn(sampler(), 10)
    # 240 slots are 8 cycles of 30 normals and 24 cycles of 10 anomalies.
    normal_cycles = indices[:, :24].reshape(8, 30).tolist()
    seen_cycles = indices[:, 24:].reshape(24, 10).tolist()
    assert all(set(cycle) == NORMALS for cycle in normal_cycles)
    assert all(set(cycle) == ANOMALIES for cycle in seen_cycles)


def test_every_cycle_has_an_order_of_its_own() -> None:
    indices, _ = drawn(sampler(), 10)
    assert len({tuple(cycle) for cycle in indices[:, :24].reshape(8, 30).tolist()}) == 8


def test_one_anomaly_fills_the_half() -> None:
    indices, codes = sampler(torch.tensor([0] * 30 + [1])).draw()
    assert indices[24:].tolist() == [30] * 24
    assert codes[24:].tolist() == [SEEN] * 24


def test_without_anomalies_all_are_normal() -> None:
    indices, codes = drawn(sampler(torch.zeros(20, dtype=torch.long)), 5)
    assert (codes == NORMAL).all()
    assert torch.bincount(indices.flatten()).tolist() == [12] * 20


def test_half_of_the_normal_slots_become_pseudo_anomalies() -> None:
    indices, codes = drawn(sampler(pseudo=0.5), 200)
    share = (codes[:, :24] == PSEUDO).double().mean().item()
    assert share == pytest.approx(0.5, abs=0.03)
    assert (codes[:, 24:] == SEEN).all()
    assert set(indices[codes == PSEUDO].tolist()) == NORMALS
    assert len(set(codes[:, :24].sum(dim=1).tolist())) > 1, "the number is drawn, not fixed"


def test_a_pseudo_anomaly_comes_from_a_freshly_drawn_normal() -> None:
    indices, codes = drawn(sampler(pseudo=0.5), 200)
    # Had they kept their slots' images, no cycle would hold one twice.
    cycles = zip(
        indices[:, :24].reshape(-1, 30).tolist(), codes[:, :24].reshape(-1, 30), strict=True
    )
    pseudo = [[i for i, code in zip(*cycle, strict=True) if code == PSEUDO] for cycle in cycles]
    repeated = [cycle for cycle in pseudo if len(set(cycle)) < len(cycle)]
    assert len(repeated) > len(pseudo) / 2
    plain = indices[:, :24].reshape(-1, 30)[0][codes[:, :24].reshape(-1, 30)[0] == NORMAL]
    assert len(set(plain.tolist())) == len(plain)


def test_certain_pseudo_anomalies_leave_no_normals() -> None:
    assert (sampler(pseudo=1.0).draw()[1][:24] == PSEUDO).all()


def test_references_come_from_the_normal_and_pseudo_anomalous_pool() -> None:
    source = sampler(pseudo=0.5)
    indices, codes = source.references(2000)
    assert set(indices.tolist()) == NORMALS
    assert set(codes.tolist()) == {NORMAL, PSEUDO}
    assert (codes == PSEUDO).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert sampler().references(50)[1].tolist() == [NORMAL] * 50
    assert not torch.equal(source.references(5)[0], source.references(5)[0])
    assert [len(part) for part in source.references(0)] == [0, 0]


def test_references_do_not_use_up_the_cycle() -> None:
    source = sampler(batch_size=60)
    first = source.draw()[0][:30]
    source.references(7)
    assert set(source.draw()[0][:30].tolist()) == set(first.tolist()) == NORMALS


@pytest.mark.parametrize("pseudo", [0.0, 0.5])
def test_external_outliers_are_no_part_of_a_batch(pseudo: float) -> None:
    source = sampler(WITH_OUTLIERS, pseudo=pseudo)
    indices, codes = drawn(source, 20)
    assert not OUTLIERS & set(indices.flatten().tolist())
    assert OUTLIER not in codes
    assert not OUTLIERS & set(source.references(500)[0].tolist())


def test_outliers_cycle_beside_the_batch() -> None:
    source = sampler(WITH_OUTLIERS)
    indices, codes = zip(*(source.outliers(3) for _ in range(10)), strict=True)
    assert all(set(part.tolist()) == {OUTLIER} for part in codes)
    cycles = torch.cat(indices).reshape(6, 5).tolist()
    assert all(set(cycle) == OUTLIERS for cycle in cycles)
    assert len({tuple(cycle) for cycle in cycles}) > 1
    assert [len(part) for part in source.outliers(0)] == [0, 0]
    many, _ = source.outliers(12)
    assert torch.bincount(many, minlength=45)[40:].tolist().count(2) >= 3, "more than there are"


def test_asking_for_no_outliers_needs_none() -> None:
    assert [len(part) for part in sampler().outliers(0)] == [0, 0]


def test_external_pseudo_anomalies_are_the_outliers_themselves() -> None:
    source = BalancedSampler(WITH_OUTLIERS, batch_size=48, pseudo_probability=0.5, external=True)
    indices, codes = drawn(source, 200)
    assert set(indices[codes == PSEUDO].tolist()) == OUTLIERS
    assert set(indices[codes == NORMAL].tolist()) == NORMALS
    share = (codes[:, :24] == PSEUDO).double().mean().item()
    assert share == pytest.approx(0.5, abs=0.03)
    indices, codes = source.references(500)
    assert set(indices[codes == PSEUDO].tolist()) == OUTLIERS
    assert set(indices[codes == NORMAL].tolist()) <= NORMALS


@pytest.mark.parametrize(("batch_size", "steps"), [(40, 1), (39, 2), (12, 4), (7, 6), (1, 40)])
@pytest.mark.parametrize("kind", [BalancedSampler, ShuffledSampler])
def test_steps_per_pass_count_normals_and_labelled_anomalies(
    kind: type[BalancedSampler] | type[ShuffledSampler], batch_size: int, steps: int
) -> None:
    assert kind(WITH_OUTLIERS, batch_size=batch_size).steps_per_pass == steps


def passes(labels: Tensor, batch_size: int, n: int) -> list[list[tuple[Tensor, Tensor]]]:
    """Return the batches of n passes."""
    source = ShuffledSampler(labels, batch_size=batch_size)
    return [[source.draw() for _ in range(source.steps_per_pass)] for _ in range(n)]


@pytest.mark.parametrize(("batch_size", "sizes"), [(12, [12, 12, 12, 4]), (10, [10] * 4)])
def test_a_pass_holds_every_normal_and_every_anomaly_once(
    batch_size: int, sizes: list[int]
) -> None:
    for batches in passes(WITH_OUTLIERS, batch_size, 3):
        assert [len(indices) for indices, _ in batches] == sizes
        indices = torch.cat([part for part, _ in batches]).tolist()
        assert sorted(indices) == list(range(40)), "label 2 is left out"
        for indices_, codes in batches:
            assert torch.equal(codes, WITH_OUTLIERS[indices_])
            assert codes.dtype == torch.long


def test_every_pass_is_shuffled_afresh() -> None:
    orders = {
        tuple(torch.cat([indices for indices, _ in batches]).tolist())
        for batches in passes(LABELS, 12, 5)
    }
    assert len(orders) == 5
    assert tuple(range(40)) not in orders
    # Anomalies don't gather at one end: those of a pass lie in more than one of its batches.
    first = passes(LABELS, 12, 1)[0]
    assert sum(SEEN in codes for _, codes in first) > 1


def test_a_batch_larger_than_all_is_the_whole_pass() -> None:
    source = ShuffledSampler(LABELS, batch_size=100)
    assert sorted(source.draw()[0].tolist()) == sorted(source.draw()[0].tolist()) == [*range(40)]


def test_references_do_not_shorten_a_pass() -> None:
    source = ShuffledSampler(WITH_OUTLIERS, batch_size=40)
    source.references(7)
    source.outliers(2)
    assert sorted(source.draw()[0].tolist()) == list(range(40))


def test_labelled_anomalies_change_no_draw_of_the_normals() -> None:
    labels = torch.tensor([1, 0, 0, 2, 0, 1, 0])
    source = normals_only(labels, 3)
    draws = [source.draw() for _ in range(4)]
    assert source.steps_per_pass == 2
    assert [len(indices) for indices, _ in draws] == [3, 1, 3, 1]
    assert sorted(torch.cat([indices for indices, _ in draws[:2]]).tolist()) == [1, 2, 4, 6]
    assert all((codes == NORMAL).all() for _, codes in draws)


def test_a_seed_decides_the_batches() -> None:
    def batches(seed: int) -> Tensor:
        with isolated_rng(seed):
            return torch.stack([*drawn(sampler(pseudo=0.5), 4)])

    assert torch.equal(batches(3), batches(3))
    assert not torch.equal(batches(3), batches(4))


def test_a_seed_decides_a_pass() -> None:
    def order(seed: int) -> list[int]:
        with isolated_rng(seed):
            return [int(i) for part, _ in passes(LABELS, 12, 1)[0] for i in part]

    assert order(3) == order(3)
    assert order(3) != order(4)


def test_isolated_randomness_leaves_the_callers_alone() -> None:
    torch.manual_seed(11)
    states = (
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # type: ignore[index]  # noqa: NPY002
    )
    with isolated_rng(1):
        drawn(sampler(pseudo=0.5), 3)
    with pytest.raises(KeyError), isolated_rng(2):
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # type: ignore[index]  # noqa: NPY002


def test_isolated_blocks_nest() -> None:
    with isolated_rng(1):
        wanted = torch.rand(4)
    with isolated_rng(1):
        first = torch.rand(2)
        with isolated_rng(2):
            torch.rand(5)
        assert torch.equal(torch.cat([first, torch.rand(2)]), wanted)


@pytest.mark.parametrize("seed", [0, 2**63 - 1, 2**63, 2**80, -1])
def test_any_integer_is_a_seed(seed: int) -> None:
    draws = []
    for _ in range(2):
        with isolated_rng(seed):
            draws.append(torch.rand(3))
    assert torch.equal(*draws)
