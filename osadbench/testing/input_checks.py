"""Checks of what input a method takes, and of what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from osadbench.errors import ContractError, NotFittedError
from osadbench.testing.method_case import (
    N_NORMAL,
    N_TEST,
    MethodCase,
    expect_form,
    train_images,
    unseen_images,
)
from osadbench.testing.results import expect, raises
from osadbench.testing.toys import toy_images
from osadbench.types import UInt8Array

__all__: list[str] = []


def score_before_fit_raises(case: MethodCase) -> None:
    """``score`` before ``fit`` raises ``NotFittedError``."""
    raises(NotFittedError, "score before fit", case.new().score, unseen_images())


def wrong_input_raises(case: MethodCase) -> None:
    """Images and labels against the contract raise ``ContractError``."""
    images, labels = train_images()
    broken = images.astype(np.float64)
    broken[0, 0, 0, 0] = np.nan
    grey = images[..., 0]
    wrong: dict[str, tuple[Any, Any]] = {
        "fit without normal images": (images, np.ones_like(labels)),
        "fit on images with NaN": (broken, labels),
        "fit on grey images (n, H, W)": (grey, labels),
        "fit with a label too few": (images, labels[:-1]),
    }
    for what, data in wrong.items():
        raises(ContractError, what, case.new().fit, *data)
    raises(ContractError, "score of grey images (n, H, W)", case.fitted.score, grey)


def any_image_sizes_work(case: MethodCase) -> None:
    """Lists of images of several sizes work, and a list of equal images scores as their array."""
    method = case.new()
    small, large = train_images(), toy_images(6, 2, 80, 4)
    method.fit([*small[0], *large[0][:, 10:]], [*small[1], *large[1]])
    expect_form(method.score([*unseen_images(), *_cut()]), 2 * N_TEST + 4)
    as_list = case.fitted.score(list(unseen_images()))
    expect(
        np.allclose(as_list, case.reference, rtol=1e-5, atol=1e-5),
        "the same images score differently as a list and as an array",
    )


def _cut() -> UInt8Array:
    return toy_images(2, 2, 80, 4)[0][:, :, 10:]


def few_labelled_anomalies_work(case: MethodCase) -> None:
    """One labelled anomaly is enough; none at all works or is refused by ``ContractError``."""
    images, labels = train_images()
    one = slice(0, N_NORMAL + 1)
    expect_form(case.scores((images[one], labels[one])), 2 * N_TEST)
    try:
        scores = case.scores((images[:N_NORMAL], labels[:N_NORMAL]))
    except ContractError:
        return
    expect_form(scores, 2 * N_TEST)
