"""The contract of a method.

Rules that hold for every method, and that ``osadbench check`` tests:

* ``fit`` sees training images and their labels; ``score`` sees images only.
* Larger scores mean more anomalous. Scores come in the order of the images, as float64 ``(n,)``,
  finite. A score depends on its own image and on the fitted model, not on the other images.
* The same seed gives the same scores, bit for bit on a CPU, in any process.
* Inputs and the global random states of Python, NumPy and torch are left as they were.
* ``fit`` starts anew each time; ``score`` before ``fit`` raises ``NotFittedError``.
* ``adapt``, which a method may have, goes on from what ``fit`` left, on normals of another domain.
* The constructor takes keyword-only arguments and does no work.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt

from osadbench import settings
from osadbench.errors import ContractError, NotFittedError, ParameterError
from osadbench.params import Params as BaseParams
from osadbench.params import resolve_params, value_text
from osadbench.taps import LAST, Tap
from osadbench.types import Float32Array, FloatArray, ImageSequence, Split, UInt8Array

__all__ = ["Method", "check_adaptation_data", "check_images", "check_training_data", "clone"]


class Method(ABC):
    """Base of all methods. Subclass it, write ``fit`` and ``score``, and register the class.

    Class attributes:
        name: Set by ``@register_method``.
        Params: The method's parameters, a subclass of :class:`osadbench.params.Params`.
        presets: Parameter values by preset, where they differ from the defaults of ``Params``.
        fixed: Parameter values that make a named variant what it is; nobody can set them.
        engine_settings: Engine settings by preset that the method has of its own, such as another
            backbone; what the user asks for is stronger.
        supervised: Whether labelled anomalies change the scores. Other methods are never given any,
            so that their one- and ten-shot results are one.
        is_control: Whether the method learns nothing, on purpose.
        uses_backbone: Whether the engine's backbone and its weights change the scores; a property
            where that depends on the parameters.
        taps: The stages that are read of that backbone.
        reads_pixels: Whether a network of the method's own trains on the images themselves. It then
            gets the engine's device and as many threads as the cell may have. A property where that
            depends on the parameters.

    Attributes (after ``fit``):
        notes_: Remarks on the fit, one line each, for the record and the tables.

    Args:
        seed: Seed of everything random in the method; any integer of 0 or more.
        engine: Engine settings, or the name of a preset.
        **params: Fields of ``Params``.
    """

    name: ClassVar[str] = ""
    Params: ClassVar[type[BaseParams]] = BaseParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    fixed: ClassVar[Mapping[str, Any]] = {}
    engine_settings: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    supervised: ClassVar[bool] = True
    is_control: ClassVar[bool] = False
    uses_backbone: bool = False
    taps: ClassVar[tuple[Tap, ...]] = (LAST,)
    reads_pixels: bool = False

    notes_: Sequence[str] = ()

    def __init__(
        self, *, seed: int = 0, engine: settings.Engine | str = "frozen", **params: Any
    ) -> None:
        self.seed = seed
        self.engine = self.engine_for(engine) if isinstance(engine, str) else engine
        self._given = params
        # A bad parameter is reported here, by name, rather than in the middle of `fit`.
        self.params = self.resolve_params(self.engine.preset, params)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__init__ is Method.__init__:
            cls.__signature__ = _signature(cls.Params)  # type: ignore[attr-defined]

    @classmethod
    def resolve_params(cls, preset: str, given: Mapping[str, Any]) -> BaseParams:
        """Return the parameters with defaults, preset and given values in this order of strength.

        Raises:
            ParameterError: Unknown names or wrong values, all reported together; or a value given
                that the variant fixes.
        """
        owner = cls.name or cls.__name__
        layers = (cls.presets.get(preset, {}), given, cls.fixed)
        params = resolve_params(cls.Params, owner, *layers)
        asked = resolve_params(cls.Params, owner, *layers[:2])
        for key in sorted(given.keys() & cls.fixed.keys()):
            if getattr(asked, key) != getattr(params, key):
                raise ParameterError(
                    f"{owner} has {key}={value_text(cls.fixed[key])} by definition, got "
                    f"{value_text(given[key])}: leave it out, or run the method it is a variant of"
                )
        return params

    @classmethod
    def engine_for(cls, preset: str, **overrides: Any) -> settings.Engine:
        """Return a preset's engine settings with the method's own, then the overrides, on top.

        Raises:
            UsageError: The preset is unknown.
            ParameterError: A field is unknown or has a wrong value.
        """
        return settings.engine(preset, **{**cls.engine_settings.get(preset, {}), **overrides})

    @classmethod
    def label(cls, engine: settings.Engine) -> str:
        """Return the name that tables show, where the engine decides what the method really is."""
        return cls.name

    @property
    def needs_outliers(self) -> bool:
        """Whether ``fit`` takes external outliers, images of other data, under label 2."""
        return False

    @abstractmethod
    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        """Train on images.

        Args:
            X: n RGB images: an array ``(n, H, W, 3)`` or a sequence of ``(H, W, 3)``, uint8,
                0 to 255. Sizes may differ within a sequence.
            y: n labels: 0 normal, 1 labelled anomaly; 2 external outlier, for methods that say so
                by :attr:`needs_outliers`.

        Returns:
            The method itself.

        Raises:
            ContractError: ``X`` or ``y`` is not of this form, or ``y`` has no normals.
        """

    @property
    def adapts(self) -> bool:
        """Whether a fitted method can go on training on another domain, by :meth:`adapt`."""
        return type(self).adapt is not Method.adapt

    def adapt(self, X: ImageSequence, y: npt.ArrayLike, *, epochs: int) -> Self:
        """Go on training on normal images of another domain, which is scored from then on.

        Args:
            X: Images as for :meth:`fit`.
            y: n labels as for :meth:`fit`, without labelled anomalies.
            epochs: For how many epochs, 1 or more.

        Returns:
            The method itself.

        Raises:
            NotFittedError: ``fit`` has not been called.
            ContractError: The method can't, or the arguments are not of this form.
        """
        raise ContractError(
            f"{type(self).__name__} cannot go on training on another domain: it has no adapt"
        )

    @abstractmethod
    def score(self, X: ImageSequence) -> FloatArray:
        """Return one anomaly score per image, float64 ``(n,)``, larger = more anomalous.

        Args:
            X: Images as for :meth:`fit`.

        Raises:
            NotFittedError: ``fit`` has not been called.
            ContractError: ``X`` is not of this form.
        """

    def precompute(self, X: ImageSequence, y: npt.ArrayLike | None = None) -> None:  # noqa: B027
        """Fill shared caches with what :meth:`fit` (with ``y``) or :meth:`score` will need.

        The runner calls it on an instance that it then throws away, before the cells run in
        parallel; nothing may be learnt here. The default does nothing.
        """

    def score_maps(self, X: ImageSequence) -> list[Float32Array]:
        """Return one map of scores per image, float32 ``(H, W)``, larger = more anomalous.

        Each map has its image's own size. Values of different methods do not compare.

        Raises:
            NotFittedError: ``fit`` has not been called.
            ContractError: The method has none, or ``X`` is not of the contract's form.
        """
        raise ContractError(
            f"{type(self).__name__} has no score maps: it scores an image as a whole"
        )

    def skip(self, split: Split) -> str | None:
        """Return why the method has no honest form on a split, or None where it has one."""
        return None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments as given, for cloning; as scikit-learn does.

        Parameters left at their defaults are left out, and a preset's name has become its settings.
        """
        return {"seed": self.seed, "engine": self.engine, **self._given}

    def _require_fitted(self, attribute: str, called: str = "score") -> None:
        if not hasattr(self, attribute):
            name = type(self).__name__
            raise NotFittedError(f"{name}.{called} was called before fit: call fit(X, y) first")

    def __repr__(self) -> str:
        given = {"seed": self.seed, "engine": self.engine.preset, **self._given}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in given.items())})"


M = TypeVar("M", bound=Method)


def clone(method: M) -> M:
    """Return an unfitted method with the same constructor arguments."""
    return type(method)(**method.get_params())


def _signature(params: type[BaseParams]) -> inspect.Signature:
    keyword = inspect.Parameter.KEYWORD_ONLY
    arguments = [
        inspect.Parameter("seed", keyword, default=0, annotation=int),
        inspect.Parameter("engine", keyword, default="frozen"),
    ]
    arguments += [
        inspect.Parameter(
            name,
            keyword,
            default=inspect.Parameter.empty
            if field.is_required()
            else field.get_default(call_default_factory=True),
            annotation=field.annotation,
        )
        for name, field in params.model_fields.items()
    ]
    return inspect.Signature(arguments)


def check_images(X: ImageSequence) -> int:
    """Check that ``X`` is a sequence of RGB uint8 images and return its length.

    Every array is checked; of a lazily decoded set, which decodes to this form, only the length.

    Raises:
        ContractError: It is not; the message names the first offending image.
    """
    wanted = "expected images as uint8 arrays (H, W, 3) or one array (n, H, W, 3)"
    if isinstance(X, np.ndarray):
        if X.ndim != 4 or X.shape[-1] != 3 or X.dtype != np.uint8 or 0 in X.shape[1:]:
            raise ContractError(f"{wanted}, got {X.dtype} {X.shape}")
        return _not_empty(len(X), wanted)
    if not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        raise ContractError(f"{wanted}, got {type(X).__name__}")
    if not hasattr(X, "identities"):
        for index in range(len(X)):
            _check_image(np.asarray(X[index]), index, wanted)
    return _not_empty(len(X), wanted)


def _not_empty(length: int, wanted: str) -> int:
    if not length:
        raise ContractError(f"{wanted}, got none")
    return length


def _check_image(image: UInt8Array, index: int, wanted: str) -> None:
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ContractError(f"{wanted}, got {image.dtype} {image.shape} at index {index}")


def check_adaptation_data(
    X: ImageSequence, y: npt.ArrayLike, epochs: int, *, outliers: bool = False
) -> npt.NDArray[np.int64]:
    """Check what ``adapt`` was given and return the labels as int64 ``(n,)``.

    Args:
        X: Images.
        y: Labels.
        epochs: Number of epochs.
        outliers: As for :func:`check_training_data`.

    Raises:
        ContractError: As for :func:`check_training_data`; or there are labelled anomalies, or fewer
            than one epoch.
    """
    labels = check_training_data(X, y, outliers=outliers)
    if (labels == 1).any():
        raise ContractError("expected no labelled anomalies (label 1) to adapt to: leave them out")
    if epochs < 1:
        raise ContractError(f"expected 1 or more epochs to adapt for, got {epochs}")
    return labels


def check_training_data(
    X: ImageSequence, y: npt.ArrayLike, *, outliers: bool = False
) -> npt.NDArray[np.int64]:
    """Check what ``fit`` was given and return the labels as int64 ``(n,)``.

    Args:
        X: Images.
        y: Labels.
        outliers: Whether external outliers, label 2, are needed; otherwise they are refused.

    Raises:
        ContractError: Images or labels are not of the contract's form, their numbers differ, no
            label is 0, or none is 2 where outliers are needed.
    """
    n = check_images(X)
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise ContractError(f"expected {n} labels, one for each image, got shape {labels.shape}")
    known = "0 (normal) and 1 (labelled anomaly)" + (
        " and 2 (external outlier)" if outliers else ""
    )
    if (
        labels.dtype.kind not in "biuf"
        or not np.isin(labels, (0, 1, 2) if outliers else (0, 1)).all()
    ):
        raise ContractError(f"expected labels of {known} only")
    if not (labels == 0).any():
        raise ContractError("expected at least one normal image (label 0) to train on, got none")
    if outliers and not (labels == 2).any():
        raise ContractError(
            "expected images of other data as external outliers (label 2), got none: with "
            "osadbench run, name them by --outliers DIR or --outliers DATASET"
        )
    return labels.astype(np.int64)
