"""Checks of what a fitted method's scores are, and of what they may depend on."""

from __future__ import annotations

import numpy as np

from osadbench.errors import ContractError
from osadbench.testing.method_case import (
    N_TEST,
    MethodCase,
    expect_form,
    expect_same,
    scores_of,
    unseen_images,
)
from osadbench.testing.other_process import call_in_other_process
from osadbench.testing.results import Skipped, expect
from osadbench.testing.toys import toy_images
from osadbench.types import FloatArray

__all__ = ["AUROC_FLOOR"]

#: What a method must reach on the toy task; a random ranking gives 0.5, a flipped sign less.
AUROC_FLOOR = 0.7


def scores_have_the_form(case: MethodCase) -> None:
    """``fit`` returns the method; scores are finite float64 ``(n,)``."""
    method = case.new()
    expect(method.fit(*case.data()) is method, "fit must return self")
    expect_form(method.score(unseen_images()), 2 * N_TEST)


def scores_differ(case: MethodCase) -> None:
    """More than half of the scores of distinct images are distinct."""
    distinct, n = len(np.unique(case.reference)), 2 * N_TEST
    expect(distinct > n / 2, f"{n} distinct images got only {distinct} distinct scores")


def anomalies_score_higher(case: MethodCase) -> None:
    """The AUROC on the toy task, by counting pairs, is at least :data:`AUROC_FLOOR`."""
    _skip_controls(case)
    normal, anomalous = case.reference[:N_TEST, None], case.reference[None, N_TEST:]
    auroc = np.mean(anomalous > normal) + np.mean(anomalous == normal) / 2
    expect(
        auroc >= AUROC_FLOOR,
        f"AUROC {auroc:.2f} on an easy task, expected {AUROC_FLOOR} or more: larger scores must "
        "mean more anomalous",
    )


def same_seed_same_scores(case: MethodCase) -> None:
    """A second method with the same seed gives the same scores."""
    expect_same(case.scores(), case.reference, "two fits with one seed")


def same_scores_in_other_process(case: MethodCase) -> None:
    """Another process with another hash seed gives the same scores."""
    there = call_in_other_process(scores_of, case.method_class, case.engine, dict(case.params))
    expect_same(there, case.reference, "one seed in two processes")


def score_depends_on_its_image_only(case: MethodCase) -> None:
    """Scores follow their images through shuffling, small batches and single images."""
    images, n = unseen_images(), 2 * N_TEST
    order = np.random.default_rng(0).permutation(n)
    _expect_close(case.fitted.score(images[order]), case.reference[order], "shuffled")
    batches = [case.fitted.score(images[part]) for part in np.array_split(np.arange(n), 5)]
    _expect_close(np.concatenate(batches), case.reference, "scored in small batches")
    some = np.arange(0, n, 3)
    single = [case.fitted.score(images[[index]]) for index in some]
    _expect_close(np.concatenate(single), case.reference[some], "scored one by one")


def _expect_close(got: FloatArray, wanted: FloatArray, how: str) -> None:
    expect(got.shape == wanted.shape, f"images {how} gave scores of shape {got.shape}")
    gap = float(np.max(np.abs(got - wanted)))
    expect(
        np.allclose(got, wanted, rtol=1e-5, atol=1e-5),
        f"scores change by up to {gap:.3g} when the images are {how}; they must come in the order "
        "of the images, and batch normalisation must be in evaluation mode",
    )


def score_maps_have_the_sizes(case: MethodCase) -> None:
    """``score_maps`` gives one finite float32 ``(H, W)`` per image, of the image's own size."""
    images = [*unseen_images()[::8], *toy_images(1, 1, 80, 4)[0][:, 10:]]
    try:
        maps = case.fitted.score_maps(images)
    except ContractError as error:
        raise Skipped(str(error)) from error
    expect(isinstance(maps, list), f"score_maps gave {type(maps).__name__}, expected a list")
    expect(len(maps) == len(images), f"{len(images)} images got {len(maps)} score maps")
    for image, scores in zip(images, maps, strict=True):
        expect(
            isinstance(scores, np.ndarray)
            and scores.dtype == np.float32
            and scores.shape == image.shape[:2],
            f"an image {image.shape} got a score map {getattr(scores, 'dtype', type(scores))} "
            f"{getattr(scores, 'shape', '')}, expected float32 {image.shape[:2]}",
        )
        expect(np.isfinite(scores).all(), "a score map holds NaN or infinity")


def _skip_controls(case: MethodCase) -> None:
    if case.method_class.is_control:
        raise Skipped("the method is a control, which learns nothing on purpose")


def training_has_an_effect(case: MethodCase) -> None:
    """Other training images give other scores, and trained tensors leave their initial values."""
    _skip_controls(case)
    other = case.scores(case.data(seed=2))
    expect(
        other.tobytes() != case.reference.tobytes(),
        "the scores are the same whatever images the method is trained on",
    )
    before = getattr(case.fitted, "initial_digest_", None)
    after = getattr(case.fitted, "fitted_digest_", None)
    expect(before is None or before != after, "fit left every trainable tensor as it was drawn")


def labelled_anomalies_matter(case: MethodCase) -> None:
    """Other labelled anomalies beside the same normal images give other scores."""
    if not case.method_class.supervised:
        raise Skipped("the method declares supervised = False")
    _skip_controls(case)
    other = case.scores(case.data(green=True))
    expect(
        other.tobytes() != case.reference.tobytes(),
        "the scores are the same whatever the labelled anomalies; set supervised = False if the "
        "method does not use them",
    )


def refit_forgets(case: MethodCase) -> None:
    """``fit(A)`` then ``fit(B)`` leaves what ``fit(B)`` alone leaves."""
    method = case.fit()
    method.fit(*case.data(seed=2))
    expect_same(
        method.score(unseen_images()), case.scores(case.data(seed=2)), "a second fit and a first"
    )
