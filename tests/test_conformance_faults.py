from __future__ import annotations

import pickle
import random
import sys

import numpy as np
import pytest
import toy_methods as toys

from osadbench.errors import DataError, UsageError
from osadbench.method import Method
from osadbench.testing import (
    METHOD_CHECKS,
    CheckResult,
    MethodConformance,
    check_method,
    format_results,
    toy_images,
    toy_outliers,
)
from osadbench.testing.method_suite import method_case

EXISTS = "the method has a form under the preset"
CONSTRUCTOR = "the constructor only stores its arguments"
FORM = "fit returns self, scores are finite float64 (n,)"
DISTINCT = "distinct images get distinct scores"
DIRECTION = "anomalies score higher than normal images"
SEED = "same seed, same scores"
PROCESS = "same scores in another process"
ALONE = "a score depends on its own image only"
MAPS = "score maps have the images' sizes"
INPUTS = "images and labels are left alone"
RANDOM = "global random state is left alone"
TRAINING = "training has an effect"
LABELS = "labelled anomalies matter"
REFIT = "a second fit forgets the first"
ADAPT = "adapt, where there is one, goes on from fit"
UNFITTED = "score before fit raises NotFittedError"
WRONG = "wrong input raises ContractError"
OUTLIERS = "external outliers are taken where needed only"
PICKLE = "pickling keeps the scores"
CLONE = "clones are unfitted and have equal parameters"
SIZES = "images of any size work"
GREY = "grey images work"
NORMALS = "20 normal images are enough"
FEW = "one labelled anomaly is enough"

#: What every fit on unusual data looks at.
FITS = {SIZES, GREY, NORMALS, FEW}

# Each fault, what it must break (and nothing else), and a part of the first message.
FAULTY: list[tuple[type[Method], set[str], str]] = [
    (toys.Constant, {DISTINCT, DIRECTION, TRAINING, LABELS}, "only 1 distinct score"),
    (toys.FlippedSign, {DIRECTION}, "AUROC 0.00 on an easy task"),
    (toys.BatchNormalised, {ALONE}, "scored in small batches"),
    (toys.SortedScores, {ALONE}, "when the images are shuffled"),
    (toys.Float32, {FORM, *FITS}, "the scores are float32, expected float64"),
    (toys.NotANumber, {FORM, ALONE, *FITS}, "1 of 24 scores are NaN or infinite"),
    (toys.SeedsNumpy, {RANDOM}, "global random state of numpy"),
    (toys.SeedsPython, {RANDOM}, "global random state of random"),
    (toys.SeedsTorch, {RANDOM}, "global random state of torch"),
    (toys.Unseeded, {SEED, PROCESS, REFIT}, "two fits with one seed: 24 of 24 scores differ"),
    (toys.HashSeeded, {PROCESS}, "one seed in two processes"),
    (toys.IgnoresTraining, {TRAINING, LABELS}, "whatever images the method is trained on"),
    (toys.IgnoresLabelledAnomalies, {LABELS}, "set supervised = False"),
    (toys.RemembersFirstFit, {REFIT}, "scores differ, by up to"),
    (toys.ReturnsNone, {FORM}, "fit must return self"),
    (toys.MutatesImages, {INPUTS}, "changed score's images"),
    (toys.MutatesLabels, {INPUTS}, "changed fit's labels"),
    (toys.ScoresBeforeFit, {UNFITTED, CLONE}, "raised nothing; expected NotFittedError"),
    (toys.NotPicklable, {PICKLE}, "lambda"),
    (toys.WorksInConstructor, {CONSTRUCTOR}, "the constructor set cells_"),
    (toys.LosesParameters, {CONSTRUCTOR}, "get_params gives seed=0, but 3 was passed"),
    (toys.TakesAnything, {WRONG, SIZES}, "fit without normal images raised nothing"),
    (toys.OneSizeOnly, {SIZES}, "all input arrays must have the same shape"),
    (toys.NeedsManyAnomalies, {NORMALS, FEW}, "ZeroDivisionError: too few anomalies to split"),
    (toys.NeedsManyNormals, {NORMALS}, "ZeroDivisionError: too few normals for a batch"),
    (toys.UnsupervisedNeedsAnomalies, {FEW}, "supervised is False, but fit refuses normals alone"),
    (toys.NeedsColour, {GREY}, "24 of 24 scores are NaN or infinite"),
    (toys.WorksWithoutOutliers, {OUTLIERS}, "fit without external outliers raised nothing"),
    (
        toys.TakesOutliersForAnomalies,
        {OUTLIERS},
        "fit with label 2, which is not needed, raised nothing",
    ),
    (toys.SkipsEverySplit, {EXISTS}, "skip refuses every split under preset smoke"),
    (toys.Float64Maps, {MAPS}, "an image (64, 64, 3) got a score map float64 (64, 64)"),
    (toys.MapsOfOneSize, {MAPS}, "got a score map float32 (32, 32), expected float32 (64, 64)"),
    (toys.MapsOfFirstImage, {MAPS}, "5 images got 1 score maps"),
    (toys.StackedMaps, {MAPS}, "score_maps gave ndarray, expected a list"),
    (toys.MapsWithNaN, {MAPS}, "a score map holds NaN or infinity"),
    (toys.AdaptsInVain, {ADAPT}, "adapt leaves all scores as they were"),
    (toys.AdaptsAtRandom, {ADAPT}, "two adapted fits: "),
    (toys.AdaptsToAnything, {ADAPT}, "adapt to labelled anomalies raised nothing"),
    (toys.AdaptsUnfitted, {ADAPT}, "adapt before fit raised nothing; expected NotFittedError"),
    (toys.AdaptReturnsNone, {ADAPT}, "adapt must return self"),
    (toys.SaysThatItCanAdapt, {ADAPT}, "adapt before fit raised ContractError"),
    (toys.TrainModeNetwork, {ALONE}, "batch normalisation must be in evaluation mode"),
]


def failures(results: list[CheckResult]) -> dict[str, str]:
    return {result.name: result.message for result in results if not result.passed}


def skips(results: list[CheckResult]) -> dict[str, str]:
    return {result.name: result.skipped for result in results if result.skipped is not None}


@pytest.mark.parametrize(
    "method_class", [toys.Nearest, toys.Network, toys.Exposed, toys.WithMaps, toys.Adapts]
)
def test_good_methods_pass(method_class: type[Method]) -> None:
    results = check_method(method_class)
    assert failures(results) == {}
    assert [result.name for result in results] == list(METHOD_CHECKS)
    assert set(skips(results)) == (set() if method_class is toys.WithMaps else {MAPS})


def test_parameters_reach_the_method() -> None:
    assert failures(check_method(toys.Nearest, engine="frozen", neighbours=1, weight=0.1)) == {}
    assert set(failures(check_method(toys.Nearest, weight=0.0))) == {LABELS}


def test_an_unsupervised_method_skips_the_labels() -> None:
    results = check_method(toys.NearestNormal)
    assert failures(results) == {}
    assert skips(results).pop(LABELS) == "the method declares supervised = False"
    assert set(skips(results)) == {LABELS, MAPS}
    assert f"skip {LABELS}: the method declares" in format_results(results)


def test_a_control_need_not_learn() -> None:
    results = check_method(toys.Control)
    assert failures(results) == {}
    assert set(skips(results)) == {DIRECTION, TRAINING, LABELS, MAPS}


def test_a_method_without_a_form_under_the_preset_is_not_checked() -> None:
    results = check_method(toys.SkipsEverySplitButUnderSmoke, engine="frozen")
    assert failures(results) == {}
    assert skips(results) == dict.fromkeys(METHOD_CHECKS, "has a form under smoke only")
    assert failures(check_method(toys.SkipsEverySplitButUnderSmoke)) == {}


def test_the_engine_is_the_methods_own() -> None:
    class Small(toys.Nearest):
        engine_settings = {"smoke": {"image_sizes": (48,)}}

    engine = method_case(Small, "smoke", {}).engine
    assert (engine.image_sizes, engine.device) == ((48,), "cpu")


@pytest.mark.parametrize(
    ("method_class", "broken", "message"), FAULTY, ids=[fault[0].__name__ for fault in FAULTY]
)
def test_planted_faults_are_found(
    method_class: type[Method], broken: set[str], message: str
) -> None:
    found = failures(check_method(method_class))
    assert set(found) == broken
    assert message in next(iter(found.values()))


def test_every_guarantee_is_broken_by_some_fault() -> None:
    assert set().union(*(broken for _, broken, _ in FAULTY)) == set(METHOD_CHECKS)


def test_an_untrained_network_is_found_though_its_scores_change() -> None:
    message = failures(check_method(toys.UntrainedNetwork))[TRAINING]
    assert message == "fit left every trainable tensor as it was drawn"


def test_a_method_that_never_works_fails_every_check_that_fits() -> None:
    results = {result.name: result for result in check_method(NeverFits)}
    assert list(results) == list(METHOD_CHECKS)
    passed = {name for name, result in results.items() if result.passed}
    assert passed == {EXISTS, CONSTRUCTOR, UNFITTED}
    assert "RuntimeError: out of order (test_conformance_faults.py, line" in results[FORM].message
    assert "the other process failed: RuntimeError: out of order" in results[PROCESS].message
    assert "fit without normal images raised RuntimeError" in results[WRONG].message


class NeverFits(toys.Nearest):
    def fit(self, X: object, y: object) -> NeverFits:
        raise RuntimeError("out of order")


def test_a_class_inside_a_function_cannot_be_found_by_another_process() -> None:
    class Local(toys.Nearest):
        pass

    found = failures(check_method(Local))
    assert set(found) == {PROCESS, PICKLE}
    assert "stands inside a function" in found[PROCESS]


def test_a_class_of_the_running_script_skips_the_other_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(toys.Nearest, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Nearest", toys.Nearest, raising=False)
    results = check_method(toys.Nearest)
    assert failures(results) == {}
    assert set(skips(results)) == {PROCESS, MAPS}


@pytest.mark.parametrize("wrong", [object, toys.Nearest(), DataError])
def test_only_methods_can_be_checked(wrong: type[Method]) -> None:
    with pytest.raises(UsageError, match=r"expected a subclass of osadbench\.method\.Method"):
        check_method(wrong)


def test_the_check_leaves_the_global_random_states_alone() -> None:
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    check_method(toys.Nearest)
    assert random.getstate() == before[0]
    assert pickle.dumps(np.random.get_state()) == pickle.dumps(before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_results_as_text() -> None:
    results = [
        CheckResult("a", True, "", 1.23),
        CheckResult("b", False, "wrong", 0.0),
        CheckResult("c", True, "", 0.0, skipped="not here"),
    ]
    assert format_results(results) == "ok   a (1.2 s)\nFAIL b: wrong\nskip c: not here"


def test_toy_images_are_the_same_each_time_and_differ_by_seed() -> None:
    images, labels = toy_images(3, 2, 32, seed=4)
    assert images.dtype == np.uint8
    assert images.shape == (5, 32, 32, 3)
    assert labels.tolist() == [0, 0, 0, 1, 1]
    assert np.array_equal(images, toy_images(3, 2, 32, seed=4)[0])
    assert not np.array_equal(images, toy_images(3, 2, 32, seed=5)[0])


def test_green_toys_have_the_same_normal_images() -> None:
    pink, green = toy_images(3, 2, 32)[0], toy_images(3, 2, 32, green=True)[0]
    assert np.array_equal(pink[:3], green[:3])
    assert not np.array_equal(pink[3:], green[3:])


def test_toy_outliers_are_other_images_each_time_the_same() -> None:
    outliers = toy_outliers(3, 32, seed=4)
    assert outliers.dtype == np.uint8 and outliers.shape == (3, 32, 32, 3)
    assert np.array_equal(outliers, toy_outliers(3, 32, seed=4))
    assert not np.array_equal(outliers, toy_outliers(3, 32, seed=5))
    assert len(np.unique(outliers, axis=0)) == 3


class TestNearest(MethodConformance):
    method_class = toys.Nearest
    params = {"neighbours": 2}


def test_the_pytest_classes_report_each_guarantee(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import toy_methods
        from osadbench.testing import MethodConformance

        class TestFlipped(MethodConformance):
            method_class = toy_methods.FlippedSign

        class TestNormal(MethodConformance):
            method_class = toy_methods.NearestNormal
        """
    )
    pytester.syspathinsert(toys.__file__.removesuffix("toy_methods.py"))
    result = pytester.runpytest("-rs")
    n = len(METHOD_CHECKS)
    result.assert_outcomes(passed=2 * n - 4, failed=1, skipped=3)
    result.stdout.fnmatch_lines([f"*{DIRECTION}: AUROC 0.00*", "*declares supervised = False*"])
