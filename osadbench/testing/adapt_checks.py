"""Checks of a method that goes on training on another domain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osadbench.errors import ContractError, NotFittedError
from osadbench.method import Method
from osadbench.testing.method_case import (
    N_NORMAL,
    N_OUTLIERS,
    N_TEST,
    MethodCase,
    expect_form,
    expect_same,
    unseen_images,
)
from osadbench.testing.results import expect, raises
from osadbench.testing.toys import toy_images, toy_outliers
from osadbench.types import FloatArray, UInt8Array

__all__: list[str] = []

EPOCHS = 2


def adapt_goes_on_from_fit(case: MethodCase) -> None:
    """``adapt`` changes the scores, alike for one seed; methods without raise ``ContractError``.

    It takes neither unfitted methods nor labelled anomalies. The other domain is that of the toy
    images in the opposite colours.
    """
    images, labels = _other_domain(case)
    if not case.fitted.adapts:
        raises(ContractError, "adapt", lambda: case.fitted.adapt(images, labels, epochs=EPOCHS))
        return
    fitted = case.fit()
    raises(NotFittedError, "adapt before fit", lambda: case.new().adapt(images, labels, epochs=1))
    raises(
        ContractError,
        "adapt to labelled anomalies",
        lambda: fitted.adapt(images, np.arange(len(labels)) % 2, epochs=EPOCHS),
    )
    scores = _adapted_scores(fitted, images, labels)
    expect_same(_adapted_scores(case.fit(), images, labels), scores, "two adapted fits")
    expect(
        case.method_class.is_control or not np.array_equal(scores, case.reference),
        "adapt leaves all scores as they were",
    )


def _other_domain(case: MethodCase) -> tuple[UInt8Array, npt.NDArray[np.int64]]:
    images, labels = toy_images(N_NORMAL, 0, 64, 6)
    images = 255 - images
    if not case.needs_outliers:
        return images, labels
    outliers = toy_outliers(N_OUTLIERS, 64, 6)
    return np.concatenate([images, outliers]), np.append(labels, np.full(N_OUTLIERS, 2))


def _adapted_scores(
    method: Method, images: UInt8Array, labels: npt.NDArray[np.int64]
) -> FloatArray:
    expect(method.adapt(images, labels, epochs=EPOCHS) is method, "adapt must return self")
    scores = method.score(unseen_images())
    expect_form(scores, 2 * N_TEST)
    return scores
