"""Checks of how a method treats its arguments and its caller's state."""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from osadbench.errors import NotFittedError, ParameterError
from osadbench.method import Method, clone
from osadbench.testing.method_case import MethodCase, expect_same, unseen_images
from osadbench.testing.results import expect, raises

__all__: list[str] = []


def constructor_only_stores(case: MethodCase) -> None:
    """The constructor takes known keyword arguments, gives them back, and fits nothing."""
    method = case.new(seed=3)
    given = method.get_params()
    for name, value in {"seed": 3, "engine": case.engine, **case.params}.items():
        expect(
            name in given and given[name] == value,
            f"get_params gives {name}={given.get(name)!r}, but {value!r} was passed",
        )
    state = [name for name in vars(method) if name.endswith("_") and not name.startswith("_")]
    expect(not state, f"the constructor set {', '.join(state)}: leave fitted state to fit")
    positional: Any = case.method_class
    raises(TypeError, "a positional argument", positional, 3)
    raises(ParameterError, "an unknown parameter", lambda: case.new(no_such_parameter=1))


def inputs_are_left_alone(case: MethodCase) -> None:
    """``fit`` and ``score`` change neither images nor labels."""
    images, labels = case.data()
    unseen = unseen_images()
    before = [array.tobytes() for array in (images, labels, unseen)]
    method = case.new()
    method.fit(images, labels)
    method.score(unseen)
    after = [array.tobytes() for array in (images, labels, unseen)]
    names = ("fit's images", "fit's labels", "score's images")
    changed = [name for name, old, new in zip(names, before, after, strict=True) if old != new]
    expect(not changed, f"the method changed {' and '.join(changed)}: work on a copy")


def global_random_state_is_left_alone(case: MethodCase) -> None:
    """``fit`` and ``score`` neither seed nor draw from the global generators."""
    # The shared fit comes first, so that a library which it imports is watched too.
    assert case.fitted is not None
    with _watched_random_states() as before:
        case.scores()
        after = _random_states()
    changed = [name for name, state in before.items() if after[name] != state]
    expect(
        not changed,
        f"the method moved the global random state of {' and '.join(changed)}: draw from a "
        "generator of its own, made from self.seed",
    )


def _random_states() -> dict[str, bytes]:
    states = {
        "random": pickle.dumps(random.getstate()),
        "numpy": pickle.dumps(np.random.get_state()),  # noqa: NPY002 - the state under test
    }
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state().numpy().tobytes()
    return states


@contextmanager
def _watched_random_states() -> Iterator[dict[str, bytes]]:
    """Set the global generators to a state that no method seeds to, and restore them at the end."""
    torch = sys.modules.get("torch")
    saved = random.getstate(), np.random.get_state()  # noqa: NPY002
    saved_torch = torch.get_rng_state() if torch else None
    random.seed(73_939_133)
    np.random.seed(73_939_133)  # noqa: NPY002
    if torch:
        torch.manual_seed(73_939_133)
    try:
        yield _random_states()
    finally:
        random.setstate(saved[0])
        np.random.set_state(saved[1])  # noqa: NPY002
        if torch:
            torch.set_rng_state(saved_torch)


def pickle_keeps_scores(case: MethodCase) -> None:
    """A fitted method that was pickled and loaded again gives the same scores."""
    loaded = pickle.loads(pickle.dumps(case.fitted))
    expect_same(loaded.score(unseen_images()), case.reference, "before and after pickling")


def clone_is_unfitted(case: MethodCase) -> None:
    """Clones by osadbench and by scikit-learn have equal parameters and are not fitted."""
    from sklearn.base import clone as sklearn_clone

    for copy in (clone, sklearn_clone):
        copied: Method = copy(case.fitted)
        name = f"{copy.__module__}.clone"
        expect(type(copied) is case.method_class, f"{name} gave a {type(copied).__name__}")
        expect(copied.get_params() == case.fitted.get_params(), f"{name} changed the parameters")
        raises(NotFittedError, f"score of {name}'s copy", copied.score, unseen_images())
