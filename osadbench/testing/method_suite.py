"""The guarantees of a method, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from osadbench.method import Method
from osadbench.settings import Engine
from osadbench.testing import adapt_checks as adapting
from osadbench.testing import input_checks as inputs
from osadbench.testing import manners_checks as manners
from osadbench.testing import score_checks as scores
from osadbench.testing.method_case import MethodCase
from osadbench.testing.results import CheckResult, Skipped, expect, require_subclass, run_checks

__all__ = ["METHOD_CHECKS", "check_method", "method_case"]

Check = Callable[[MethodCase], None]

_CHECKS: Mapping[str, Check] = {
    "the constructor only stores its arguments": manners.constructor_only_stores,
    "fit returns self, scores are finite float64 (n,)": scores.scores_have_the_form,
    "distinct images get distinct scores": scores.scores_differ,
    "anomalies score higher than normal images": scores.anomalies_score_higher,
    "same seed, same scores": scores.same_seed_same_scores,
    "same scores in another process": scores.same_scores_in_other_process,
    "a score depends on its own image only": scores.score_depends_on_its_image_only,
    "score maps have the images' sizes": scores.score_maps_have_the_sizes,
    "images and labels are left alone": manners.inputs_are_left_alone,
    "global random state is left alone": manners.global_random_state_is_left_alone,
    "training has an effect": scores.training_has_an_effect,
    "labelled anomalies matter": scores.labelled_anomalies_matter,
    "a second fit forgets the first": scores.refit_forgets,
    "adapt, where there is one, goes on from fit": adapting.adapt_goes_on_from_fit,
    "score before fit raises NotFittedError": inputs.score_before_fit_raises,
    "wrong input raises ContractError": inputs.wrong_input_raises,
    "external outliers are taken where needed only": inputs.outliers_only_where_needed,
    "pickling keeps the scores": manners.pickle_keeps_scores,
    "clones are unfitted and have equal parameters": manners.clone_is_unfitted,
    "images of any size work": inputs.any_image_sizes_work,
    "grey images work": inputs.grey_images_work,
    "20 normal images are enough": inputs.few_normals_work,
    "one labelled anomaly is enough": inputs.few_labelled_anomalies_work,
}


def _where_there_is_a_form(check: Check) -> Check:
    @wraps(check)
    def checked(case: MethodCase) -> None:
        if case.skip_reason is not None:
            raise Skipped(case.skip_reason)
        check(case)

    return checked


def has_a_form(case: MethodCase) -> None:
    """The method doesn't skip every split; under ``smoke``, that is a fault."""
    reason, preset = case.skip_reason, case.engine.preset
    expect(
        reason is None or preset != "smoke",
        f"skip refuses every split under preset smoke, where nothing is measured: {reason}",
    )
    if reason is not None:
        raise Skipped(reason)


#: What a method must keep, and the check of it, in the order in which they run.
METHOD_CHECKS: Mapping[str, Check] = {
    "the method has a form under the preset": has_a_form,
    **{name: _where_there_is_a_form(check) for name, check in _CHECKS.items()},
}


def check_method(
    method_class: type[Method], *, engine: Engine | str = "smoke", **params: Any
) -> list[CheckResult]:
    """Check that a method keeps the contract of :mod:`osadbench.method`, on small drawn images.

    Some seventeen fits on 30 images of 64 x 64 pixels, and on 12 external outliers beside them for
    methods that need some. The guarantees are those named in the contract
    and in :data:`METHOD_CHECKS`; the selection and the floor of the AUROC are ours.

    Args:
        method_class: The method.
        engine: Engine settings, or the name of a preset, which brings the method's own settings and
            then computes on the CPU: only there are equal scores promised bit for bit.
        **params: Parameters of the method.

    Returns:
        One result for each guarantee; a broken one stops none of the others.

    Raises:
        UsageError: ``method_class`` is not a subclass of ``Method``.
    """
    return run_checks(method_case(method_class, engine, params), METHOD_CHECKS)


def method_case(
    method_class: type[Method], engine: Engine | str, params: Mapping[str, Any]
) -> MethodCase:
    """Return the case of a method; raises ``UsageError`` if the class is not a method."""
    require_subclass(method_class, Method)
    if isinstance(engine, str):
        engine = method_class.engine_for(engine, device="cpu")
    return MethodCase(method_class, engine, params)
