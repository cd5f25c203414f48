from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics

from osadbench.errors import ContractError, UsageError
from osadbench.metrics import METRICS, PIXEL_AUROC, compute_metrics, metric_key, pixel_auroc


def random_case(seed: int, *, ties: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    n = int(random.integers(4, 200))
    labels = (random.random(n) < random.uniform(0.1, 0.9)).astype(int)
    labels[:2] = 0, 1
    scores = random.normal(size=n) + labels * random.uniform(-1, 3)
    if ties:
        scores = np.round(scores)
        scores[:2] = 0.0, 1.0
    return labels, scores


CASES = [(seed, ties) for seed in range(30) for ties in (False, True)]


def test_a_case_worked_by_hand() -> None:
    # From the top: anomaly; anomaly and normal tied; normal; anomaly; normal.
    labels = [1, 1, 0, 0, 1, 0]
    scores = [5.0, 4.0, 4.0, 3.0, 2.0, 1.0]
    # 9 pairs: the first anomaly wins 3, the second 2.5, the third 1.
    assert compute_metrics(labels, scores) == pytest.approx(
        {
            "auroc": 6.5 / 9,
            "ap": (1 / 1 + 2 / 3 + 3 / 5) / 3,
            "fpr95": 2 / 3,
            "oracle_f1": 2 * 3 / (3 + 5),
        }
    )


def test_keys_and_directions() -> None:
    values = compute_metrics([0, 1], [0.0, 1.0])
    assert list(values) == ["auroc", "ap", "fpr95", "oracle_f1"]
    assert list(METRICS) == [*values, PIXEL_AUROC] and PIXEL_AUROC == "pixel_auroc"
    assert values == {"auroc": 1.0, "ap": 1.0, "fpr95": 0.0, "oracle_f1": 1.0}
    assert [key for key, metric in METRICS.items() if not metric.larger_is_better] == ["fpr95"]


@pytest.mark.parametrize(("seed", "ties"), CASES)
def test_agrees_with_scikit_learn(seed: int, ties: bool) -> None:
    labels, scores = random_case(seed, ties=ties)
    values = compute_metrics(labels, scores)
    fpr, tpr, _ = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
    f1 = [sklearn.metrics.f1_score(labels, scores >= t) for t in np.unique(scores)]
    assert values["auroc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores))
    assert values["ap"] == pytest.approx(sklearn.metrics.average_precision_score(labels, scores))
    assert values["fpr95"] == pytest.approx(fpr[np.argmax(tpr >= 0.95)])
    assert values["oracle_f1"] == pytest.approx(max(f1))


@pytest.mark.parametrize(("seed", "ties"), CASES)
def test_only_ranks_count(seed: int, ties: bool) -> None:
    labels, scores = random_case(seed, ties=ties)
    values = compute_metrics(labels, scores)
    assert compute_metrics(labels, np.exp(scores / 4) * 1e6 - 3e5) == values
    order = np.random.default_rng(seed).permutation(len(labels))
    assert compute_metrics(labels[order], scores[order]) == values


@pytest.mark.parametrize(("seed", "ties"), CASES)
def test_swapping_turns_the_auroc_round(seed: int, ties: bool) -> None:
    labels, scores = random_case(seed, ties=ties)
    auroc = compute_metrics(labels, scores)["auroc"]
    assert compute_metrics(1 - labels, scores)["auroc"] == pytest.approx(1 - auroc)
    assert compute_metrics(labels, -scores)["auroc"] == pytest.approx(1 - auroc)


def test_recall_of_exactly_95_percent_is_enough() -> None:
    # 19 of 20 anomalies stand above all normals.
    labels = [1] * 19 + [0] * 4 + [1]
    scores = np.arange(len(labels), 0, -1)
    assert compute_metrics(labels, scores)["fpr95"] == 0.0
    assert compute_metrics(labels[1:], scores[1:])["fpr95"] == 1.0


def test_large_scores_are_not_rescaled_or_saturated() -> None:
    labels = [0, 0, 1, 1]
    scores = np.array([1e300, 2e300, 3e300, 4e300])
    assert compute_metrics(labels, scores)["auroc"] == 1.0
    assert compute_metrics(labels, scores - 1e301)["auroc"] == 1.0


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, np.int64])
def test_labels_of_any_number_type(dtype: type) -> None:
    assert compute_metrics(np.array([0, 1, 0], dtype), [1, 3, 2])["auroc"] == 1.0


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, 1], [0.1, math.nan, 0.2], "expected finite scores, got 1 of 3 NaN or infinite"),
        ([0, 1, 1], [math.inf, -math.inf, 0.2], "got 2 of 3 NaN or infinite"),
        ([0, 1, 1], [0.5, 0.5, 0.5], "expected scores that differ .* got 3 times 0.5: a constant"),
        ([0, 0, 0], [0.1, 0.2, 0.3], "expected labels of both classes.* got 3 of class 0"),
        ([1, 1], [0.1, 0.2], "got 2 of class 1"),
        ([], [], "expected labels of both classes, normal and anomaly, got none"),
        ([0, 1], [0.1, 0.2, 0.3], r"expected 2 scores .* got float64 \(3,\)"),
        ([0, 1], [[0.1, 0.2]], r"expected 2 scores .* got float64 \(1, 2\)"),
        ([0, 1], ["a", "b"], "expected 2 scores as real numbers"),
        ([0, 1], [1j, 2j], "expected 2 scores as real numbers"),
        ([[0, 1]], [0.1, 0.2], r"expected labels of shape \(n,\), got int64 \(1, 2\)"),
        (["good", "bad"], [0.1, 0.2], r"expected labels of shape \(n,\)"),
        ([0, 2], [0.1, 0.2], r"expected labels of 0 \(normal\) and 1 \(anomaly\) only"),
    ],
)
def test_refuses(labels: npt.ArrayLike, scores: npt.ArrayLike, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        compute_metrics(labels, scores)


def test_metrics_are_found_by_their_keys_and_by_f1max() -> None:
    assert [metric_key(name) for name in METRICS] == list(METRICS)
    assert metric_key("f1max") == "oracle_f1"
    assert "oracle threshold" in METRICS[metric_key("f1max")].name
    with pytest.raises(UsageError, match="no metric 'f1_max': did you mean f1max"):
        metric_key("f1_max")


def test_pixels_of_an_image_worked_by_hand() -> None:
    # Marked are 4 and 2, of the four pairs with 3 and 1 three are in order.
    assert pixel_auroc([[4, 3], [2, 1]], [[255, 0], [1, 0]]) == 3 / 4
    # One tie, two wins.
    assert pixel_auroc([[1, 1], [0, 0]], [[True, False], [False, False]]) == 2.5 / 3
    assert pixel_auroc(np.zeros((2, 3), np.float32), [[1, 0, 0], [0, 0, 0]]) == 0.5


def test_a_mask_is_brought_to_the_maps_size() -> None:
    scores = np.arange(12.0).reshape(4, 3)
    assert pixel_auroc(scores, [[0], [9]]) == 1.0
    assert pixel_auroc(scores, [[9], [0]]) == 0.0
    # The centres of four columns fall into the columns 0, 1, 1 and 2 of three.
    assert pixel_auroc([[0, 5, 5, 0]], [[0, 1, 0]]) == 1.0
    assert pixel_auroc([[5, 0, 0, 5]], [[1, 0, 1]]) == 1.0
    # Those of two fall into 0 and 2: nothing is left of what stands between.
    assert pixel_auroc([[0, 5]], [[0, 1, 0]]) is None


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_that_is_empty_or_full_gives_no_value(value: int) -> None:
    assert pixel_auroc([[1.0, 2.0]], [[value, value]]) is None


def test_pixels_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    mask = random.random((40, 30)) < 0.2
    scores = np.round(random.normal(size=mask.shape) + mask, 1).astype(np.float32)
    wanted = sklearn.metrics.roc_auc_score(mask.ravel(), scores.ravel())
    assert pixel_auroc(scores, mask) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("scores", "mask", "message"),
    [
        ([1.0, 2.0], [[0, 1]], "expected a score map of real numbers (H, W), got float64 (2,)"),
        (np.zeros((0, 2)), [[0, 1]], "expected a score map of real numbers (H, W), got float64"),
        ([["a"]], [[0, 1]], "expected a score map of real numbers (H, W), got <U1 (1, 1)"),
        ([[np.nan, np.inf]], [[0, 1]], "a finite score map, got 2 of 2 pixels NaN or infinite"),
        ([[1.0, 2.0]], np.zeros((1, 2, 3)), "expected a mask (h, w), got float64 (1, 2, 3)"),
    ],
)
def test_pixels_that_are_no_map(scores: object, mask: object, message: str) -> None:
    with pytest.raises(ContractError, match=re.escape(message)):
        pixel_auroc(scores, mask)  # type: ignore[arg-type]
