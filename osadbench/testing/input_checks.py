"""Checks of what input a method takes, and of what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from osadbench.errors import ContractError, NotFittedError
from osadbench.testing.method_case import (
    N_OUTLIERS,
    N_TEST,
    MethodCase,
    expect_form,
    unseen_images,
)
from osadbench.testing.results import expect, raises
from osadbench.testing.toys import toy_images, toy_outliers
from osadbench.types import UInt8Array

__all__: list[str] = []


def score_before_fit_raises(case: MethodCase) -> None:
    """``score`` before ``fit`` raises ``NotFittedError``."""
    raises(NotFittedError, "score before fit", case.new().score, unseen_images())


def wrong_input_raises(case: MethodCase) -> None:
    """Images and labels against the contract raise ``ContractError``."""
    images, labels = case.data()
    broken = images.astype(np.float64)
    broken[0, 0, 0, 0] = np.nan
    grey = images[..., 0]
    wrong: dict[str, tuple[Any, Any]] = {
        "fit without normal images": (images, np.maximum(labels, 1)),
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
    small, large = case.data(), toy_images(6, 2, 80, 4)
    method.fit([*small[0], *large[0][:, 10:]], [*small[1], *large[1]])
    expect_form(method.score([*unseen_images(), *_cut()]), 2 * N_TEST + 4)
    as_list = case.fitted.score(list(unseen_images()))
    expect(
        np.allclose(as_list, case.reference, rtol=1e-5, atol=1e-5),
        "the same images score differently as a list and as an array",
    )


def _cut() -> UInt8Array:
    return toy_images(2, 2, 80, 4)[0][:, :, 10:]


def outliers_only_where_needed(case: MethodCase) -> None:
    """``fit`` refuses label 2, or the lack of it where the method needs external outliers."""
    images, labels = case.data()
    if case.needs_outliers:
        inside = labels != 2
        without = images[inside], labels[inside]
        raises(ContractError, "fit without external outliers", case.new().fit, *without)
        return
    images = np.concatenate([images, toy_outliers(N_OUTLIERS)])
    labels = np.append(labels, np.full(N_OUTLIERS, 2))
    raises(ContractError, "fit with label 2, which is not needed,", case.new().fit, images, labels)


def grey_images_work(case: MethodCase) -> None:
    """Grey images, repeated over the colour channels, work."""
    images, labels = case.data()
    scores = case.fit((_grey(images), labels)).score(_grey(unseen_images()))
    expect_form(scores, 2 * N_TEST)


def _grey(images: UInt8Array) -> UInt8Array:
    return np.repeat(images.mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)


def few_normals_work(case: MethodCase) -> None:
    """Twenty normal images and one labelled anomaly are enough."""
    expect_form(case.scores(case.data(20, 1)), 2 * N_TEST)


def few_labelled_anomalies_work(case: MethodCase) -> None:
    """One labelled anomaly is enough; none works too, or is refused by ``ContractError``.

    Methods that declare ``supervised = False`` are never given any, and must work with none.
    """
    expect_form(case.scores(case.data(n_anomaly=1)), 2 * N_TEST)
    try:
        scores = case.scores(case.data(n_anomaly=0))
    except ContractError:
        expect(case.method_class.supervised, "supervised is False, but fit refuses normals alone")
        return
    expect_form(scores, 2 * N_TEST)
