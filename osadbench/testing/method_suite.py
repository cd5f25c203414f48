"""The guarantees of a method, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from osadbench import settings
from osadbench.errors import UsageError
from osadbench.method import Method
from osadbench.settings import Engine
from osadbench.testing import input_checks as inputs
from osadbench.testing import manners_checks as manners
from osadbench.testing import score_checks as scores
from osadbench.testing.method_case import MethodCase
from osadbench.testing.results import CheckResult, run_checks

__all__ = ["METHOD_CHECKS", "check_method", "method_case"]

#: What a method must keep, and the check of it, in the order in which they run.
METHOD_CHECKS: Mapping[str, Callable[[MethodCase], None]] = {
    "the constructor only stores its arguments": manners.constructor_only_stores,
    "fit returns self, scores are finite float64 (n,)": scores.scores_have_the_form,
    "distinct images get distinct scores": scores.scores_differ,
    "anomalies score higher than normal images": scores.anomalies_score_higher,
    "same seed, same scores": scores.same_seed_same_scores,
    "same scores in another process": scores.same_scores_in_other_process,
    "a score depends on its own image only": scores.score_depends_on_its_image_only,
    "images and labels are left alone": manners.inputs_are_left_alone,
    "global random state is left alone": manners.global_random_state_is_left_alone,
    "training has an effect": scores.training_has_an_effect,
    "labelled anomalies matter": scores.labelled_anomalies_matter,
    "a second fit forgets the first": scores.refit_forgets,
    "score before fit raises NotFittedError": inputs.score_before_fit_raises,
    "wrong input raises ContractError": inputs.wrong_input_raises,
    "pickling keeps the scores": manners.pickle_keeps_scores,
    "clones are unfitted and have equal parameters": manners.clone_is_unfitted,
    "images of any size work": inputs.any_image_sizes_work,
    "one labelled anomaly is enough": inputs.few_labelled_anomalies_work,
}


def check_method(
    method_class: type[Method], *, engine: Engine | str = "smoke", **params: Any
) -> list[CheckResult]:
    """Check that a method keeps the contract of :mod:`osadbench.method`, on small drawn images.

    About ten fits on 30 images of 64 x 64 pixels. The guarantees are those named in the contract
    and in :data:`METHOD_CHECKS`; the selection and the floor of the AUROC are ours.

    Args:
        method_class: The method.
        engine: Engine settings, or the name of a preset, which then computes on the CPU: only there
            are equal scores promised bit for bit.
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
    if not (isinstance(method_class, type) and issubclass(method_class, Method)):
        raise UsageError(f"expected a subclass of osadbench.method.Method, got {method_class!r}")
    if isinstance(engine, str):
        engine = settings.engine(engine, device="cpu")
    return MethodCase(method_class, engine, params)
