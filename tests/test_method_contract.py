from __future__ import annotations

import inspect
import pickle
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pytest
import toy_methods as toys
from pydantic import Field

from osadbench.errors import ContractError, NotFittedError, ParameterError, UsageError
from osadbench.method import (
    Method,
    check_adaptation_data,
    check_images,
    check_training_data,
    clone,
)
from osadbench.params import Params
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images
from osadbench.types import ImageSequence, UInt8Array

IMAGES = toy_images(4, 2, 16)[0]


class WithPresets(toys.Nearest):
    presets = {"smoke": {"neighbours": 1}, "paper": {"weight": 1.0}}


def test_the_signature_shows_the_parameters() -> None:
    signature = inspect.signature(toys.Nearest)
    assert list(signature.parameters) == ["seed", "engine", "neighbours", "weight"]
    assert signature.parameters["neighbours"].default == 3
    assert signature.parameters["weight"].annotation is float
    assert {p.kind for p in signature.parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_a_parameter_without_a_default_is_required_in_the_signature() -> None:
    class Needy(Params):
        depth: int
        names: list[str] = Field(default_factory=list)

    class NeedyMethod(toys.Nearest):
        Params = Needy  # type: ignore[assignment]

    parameters = inspect.signature(NeedyMethod).parameters
    assert parameters["depth"].default is inspect.Parameter.empty
    assert parameters["names"].default == []
    with pytest.raises(ParameterError, match="depth.*required"):
        NeedyMethod()


def test_defaults_presets_and_given_values_in_this_order() -> None:
    assert WithPresets().params == toys.NearestParams()
    assert WithPresets(engine="smoke").params == toys.NearestParams(neighbours=1)
    assert WithPresets(engine="smoke", neighbours=9).params == toys.NearestParams(neighbours=9)
    assert WithPresets(engine=engine("paper", device="cpu")).params == toys.NearestParams(weight=1)


class Variant(WithPresets):
    fixed = {"weight": 0.5}
    engine_settings = {"smoke": {"image_sizes": (48,), "backbone": "vgg11"}}

    @classmethod
    def label(cls, engine: Engine) -> str:
        return f"variant-{engine.preset}"


def test_a_variant_fixes_parameters() -> None:
    assert Variant(engine="paper").params == toys.NearestParams(weight=0.5)
    assert Variant(neighbours=2, weight=0.5).params == toys.NearestParams(neighbours=2, weight=0.5)
    with pytest.raises(ParameterError, match=r"Variant has weight=0\.5 by definition, got 0\.1"):
        Variant(weight=0.1)


def test_a_method_has_engine_settings_of_its_own() -> None:
    own = Variant.engine_for("smoke", device="cpu")
    assert (own.image_sizes, own.backbone, own.device) == ((48,), "vgg11", "cpu")
    assert own.seen_views == engine("smoke").seen_views
    assert Variant.engine_for("smoke", image_sizes=(64,)).image_sizes == (64,)
    assert Variant.engine_for("frozen") == engine("frozen")
    assert Variant(engine="smoke").engine == Variant.engine_for("smoke")
    given = engine("smoke")
    assert Variant(engine=given).engine is given
    with pytest.raises(UsageError, match="no preset 'smok'"):
        Variant.engine_for("smok")
    assert (Variant.label(own), toys.Nearest.label(own)) == ("variant-smoke", "")


def test_what_a_plain_method_has_not() -> None:
    method = toys.Nearest().fit(*toy_images(4, 2, 16))
    assert method.needs_outliers is False and toys.Nearest.is_control is False
    with pytest.raises(ContractError, match="Nearest has no score maps"):
        method.score_maps(IMAGES)
    assert not method.adapts
    with pytest.raises(ContractError, match="Nearest cannot go on training on another domain"):
        method.adapt(IMAGES, [0] * 6, epochs=1)


class Adaptive(toys.Nearest):
    def adapt(self, X: ImageSequence, y: npt.ArrayLike, *, epochs: int) -> Self:
        self._require_fitted("normals_", "adapt")
        return self


def test_a_method_with_adapt_says_so() -> None:
    assert Adaptive().adapts
    with pytest.raises(NotFittedError, match=r"Adaptive\.adapt was called before fit: call fit"):
        Adaptive().adapt(IMAGES, [0] * 6, epochs=1)


def test_what_adapt_is_given() -> None:
    assert check_adaptation_data(IMAGES, [False] * 6, 1).tolist() == [0] * 6
    labels = check_adaptation_data(IMAGES, [0, 0, 0, 2, 2, 2], 10, outliers=True)
    assert labels.dtype == np.int64 and labels.tolist() == [0, 0, 0, 2, 2, 2]
    with pytest.raises(ContractError, match=r"no labelled anomalies \(label 1\) to adapt to"):
        check_adaptation_data(IMAGES, [0, 0, 0, 0, 0, 1], 1)
    with pytest.raises(ContractError, match="1 or more epochs to adapt for, got -1"):
        check_adaptation_data(IMAGES, [0] * 6, -1)
    with pytest.raises(ContractError, match="expected 6 labels"):
        check_adaptation_data(IMAGES, [0] * 5, 1)
    with pytest.raises(ContractError, match=r"outliers \(label 2\), got none"):
        check_adaptation_data(IMAGES, [0] * 6, 1, outliers=True)


def test_outliers_among_the_labels() -> None:
    labels = check_training_data(IMAGES, [0, 0, 1, 2, 2, 2], outliers=True)
    assert labels.tolist() == [0, 0, 1, 2, 2, 2]
    with pytest.raises(ContractError, match=r"outliers \(label 2\), got none: .* by --outliers"):
        check_training_data(IMAGES, [0, 0, 0, 0, 1, 1], outliers=True)
    with pytest.raises(ContractError, match=r"and 2 \(external outlier\) only"):
        check_training_data(IMAGES, [0, 0, 0, 0, 1, 3], outliers=True)


def test_mistakes_are_reported_by_the_constructor() -> None:
    with pytest.raises(ParameterError) as caught:
        toys.Nearest(neighbour=2, weight=3.0)
    assert "Nearest has no parameter 'neighbour' (did you mean neighbours" in str(caught.value)
    assert "Nearest.weight=3.0: input should be less than or equal to 1" in str(caught.value)
    with pytest.raises(UsageError, match="no preset 'smok': did you mean smoke"):
        toys.Nearest(engine="smok")
    with pytest.raises(TypeError, match="positional"):
        toys.Nearest(1)  # type: ignore[call-arg]


def test_the_base_cannot_be_built() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Method()  # type: ignore[abstract]


def test_get_params_clone_and_repr() -> None:
    method = toys.Nearest(seed=3, engine="smoke", weight=0.1).fit(*toy_images(4, 2, 16))
    assert method.get_params() == {"seed": 3, "engine": engine("smoke"), "weight": 0.1}
    copy = clone(method)
    assert type(copy) is toys.Nearest
    assert copy is not method
    assert copy.get_params() == method.get_params()
    assert not hasattr(copy, "normals_")
    assert repr(method) == "Nearest(seed=3, engine='smoke', weight=0.1)"


def test_score_before_fit_says_what_to_do() -> None:
    with pytest.raises(NotFittedError, match=r"Nearest\.score was called before fit: call fit"):
        toys.Nearest().score(IMAGES)
    unfitted = pickle.loads(pickle.dumps(toys.Nearest(weight=0.1)))
    assert unfitted.params.weight == 0.1


def test_methods_skip_nothing_and_precompute_nothing_by_default() -> None:
    method = toys.Nearest()
    assert method.skip(None) is None  # type: ignore[arg-type]
    before = dict(vars(method))
    method.precompute(IMAGES, [0] * 6)
    assert vars(method) == before


class Lazy(Sequence[UInt8Array]):
    """Looks like a lazily decoded set: it has identities, and decoding it is dear."""

    identities = ("a", "b")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("decoded")


def test_images_in_all_their_forms() -> None:
    assert check_images(IMAGES) == 6
    assert check_images(list(IMAGES)) == 6
    assert check_images((IMAGES[0], IMAGES[1][:7, :5])) == 2
    assert check_images(Lazy()) == 2


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (IMAGES.astype(np.float32), r"float32 \(6, 16, 16, 3\)"),
        (IMAGES[..., 0], r"uint8 \(6, 16, 16\)"),
        (IMAGES[..., :2], r"uint8 \(6, 16, 16, 2\)"),
        (IMAGES[0], r"uint8 \(16, 16, 3\)"),
        (IMAGES[:, :0], r"uint8 \(6, 0, 16, 3\)"),
        (IMAGES[:0], "none"),
        ([], "none"),
        ([IMAGES[0], IMAGES[1][..., 0]], r"uint8 \(16, 16\) at index 1"),
        ([IMAGES[0], IMAGES[1].astype(int)], r"int64 \(16, 16, 3\) at index 1"),
        ([IMAGES[0], IMAGES[1][:0]], r"uint8 \(0, 16, 3\) at index 1"),
        (iter(IMAGES), "generator|iterator"),
        (None, "NoneType"),
        (["a.png"], r"<U5 \(\) at index 0"),
    ],
)
def test_other_images_are_refused(images: Any, got: str) -> None:
    with pytest.raises(ContractError, match=rf"expected images as uint8 arrays .*, got .*({got})"):
        check_images(images)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 1, 1], (False, True) * 3, np.zeros(6)])
def test_labels_come_back_as_int64(labels: Any) -> None:
    checked = check_training_data(IMAGES, labels)
    assert checked.dtype == np.int64
    assert checked.tolist() == list(labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"expected 6 labels, one for each image, got shape \(2,\)"),
        (np.zeros((6, 1)), r"expected 6 labels.*got shape \(6, 1\)"),
        (0, r"got shape \(\)"),
        ([0, 0, 0, 0, 1, 2], r"labels of 0 \(normal\) and 1 \(labelled anomaly\) only"),
        ([0, 0, 0, 0, 1, -1], r"labels of 0 \(normal\) and 1"),
        ([0, 0, 0, 0, 1, np.nan], r"labels of 0 \(normal\) and 1"),
        (["0"] * 6, r"labels of 0 \(normal\) and 1"),
        (np.ones(6), r"at least one normal image \(label 0\) to train on, got none"),
    ],
)
def test_other_labels_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_training_data(IMAGES, labels)
