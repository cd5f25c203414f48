"""Writing the file of a new method: small, complete, and passing every check from the start."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template

from osadbench.errors import UsageError
from osadbench.registry import METHODS

__all__ = ["new_method"]

_TEMPLATE = Template('''\
"""$title: the nearest colour histogram. Say here in one line what your method does.

Source: name the paper, its equations and the public code that you follow, or say that it is yours.

What stands below works. Change it bit by bit, and after each step run

    osadbench check $name --plugin $file

In the folder ``methods`` the file is found by itself, elsewhere ``--plugin`` takes it in.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from osadbench.method import Method, check_images, check_training_data
from osadbench.params import Params
from osadbench.registry import register_method
from osadbench.types import FloatArray, ImageSequence

__all__ = ["$class_name", "${class_name}Params"]


class ${class_name}Params(Params):
    """What a user may set, by ``$name[bins=8]`` or ``--set $name.bins=8``.

    Attributes:
        bins: Bins of each colour channel's histogram.
        neighbours: Normal images that the distance is averaged over.
        weight: Weight of the distance to the labelled anomalies; 0 ignores them.
    """

    bins: int = Field(default=16, ge=2, le=256)
    neighbours: int = Field(default=3, ge=1)
    weight: float = Field(default=0.5, ge=0, le=1)


@register_method("$name")
class $class_name(Method):
    """Distance to the nearest normal colour histograms, less that to the labelled anomalies.

    Source: none; ours.

    Loss: none, nothing is trained.
    Sampler: none.
    Score: mean L1 distance to the nearest normals, less a share of that to the nearest anomaly.
    Paper: none.
    Code: none.
    Ours: all of it.
    Frozen: the same under every preset.
    """

    Params = ${class_name}Params
    params: ${class_name}Params
    # Set this to False if labelled anomalies don't change the scores.
    supervised = True

    def fit(self, X: ImageSequence, y: npt.ArrayLike) -> Self:
        """Keep the histograms of the training images."""
        labels = check_training_data(X, y)
        # Draw whatever is random from np.random.default_rng(self.seed), never from np.random.
        histograms = self._histograms(X)
        self.normals_ = histograms[labels == 0]
        self.anomalies_ = histograms[labels == 1]
        return self

    def score(self, X: ImageSequence) -> FloatArray:
        """Return one score per image; larger means more anomalous."""
        self._require_fitted("normals_")
        check_images(X)
        return np.array([self._score_one(histogram) for histogram in self._histograms(X)])

    def _histograms(self, X: ImageSequence) -> FloatArray:
        return np.stack([_histogram(X[index], self.params.bins) for index in range(len(X))])

    def _score_one(self, histogram: FloatArray) -> float:
        near = np.sort(np.abs(self.normals_ - histogram).sum(axis=1))
        score = float(near[: self.params.neighbours].mean())
        if len(self.anomalies_):
            nearest = np.abs(self.anomalies_ - histogram).sum(axis=1).min()
            score -= self.params.weight * float(nearest)
        return score


def _histogram(image: npt.NDArray[np.uint8], bins: int) -> FloatArray:
    """Return the shares of the pixels in each bin, channel after channel, ``(3 * bins,)``."""
    counts = [np.histogram(image[..., channel], bins, (0, 256))[0] for channel in range(3)]
    shares: FloatArray = np.concatenate(counts) / (image.shape[0] * image.shape[1])
    return shares
''')


def new_method(name: str, folder: Path) -> Path:
    """Write a complete small method to ``folder`` and return the path of its file.

    The method needs NumPy only, passes :func:`osadbench.testing.check_method`, and is meant to be
    rewritten. Its idea, colour histograms, is ours and no baseline of the benchmark.

    Args:
        name: The method's name: lower-case letters and digits, parts joined by ``-`` or ``_``,
            beginning with a letter.
        folder: Where to write; made if it is missing.

    Raises:
        UsageError: The name has another form or is taken, the file exists already, or the folder
            cannot be written.
    """
    stem, class_name = _python_names(name)
    taken = {entry.name: entry.origin for entry in METHODS.entries()}
    if name in taken:
        raise UsageError(f"method {name!r} exists already in {taken[name]}: take another name")
    path = Path(folder) / f"{stem}.py"
    title = class_name if class_name.lower() == name else name
    text = _TEMPLATE.substitute(name=name, class_name=class_name, file=path.name, title=title)
    _write_new(path, text)
    return path


def _python_names(name: str) -> tuple[str, str]:
    """Return the names of module and class; raises ``UsageError`` for a name that gives none."""
    stem = name.replace("-", "_")
    class_name = "".join(part.capitalize() for part in stem.split("_"))
    if (
        not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name)
        or keyword.iskeyword(stem)
        or keyword.iskeyword(class_name)
        or class_name in {"Method", "Params", "Field", "Self"}
    ):
        raise UsageError(
            f"expected a name such as 'nearest-colour' (lower-case letters, digits, - and _; not a "
            f"word of Python), got {name!r}"
        )
    return stem, class_name


def _write_new(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already: take another name or folder") from None
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror}): take another folder") from error
