"""Named variants of DRA and DevNet, and DRA's network without training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from method_tools import end_to_end, standard_normal
from planted_faults import Check, Fault, each_check
from torch import Tensor

import osadbench.nn.references as references
from osadbench.errors import ContractError, ParameterError
from osadbench.methods.devnet import DevNet
from osadbench.methods.devnet_variants import (
    DevNetAlexNetDS,
    DevNetDS,
    DevNetPatchDS,
    DevNetRep,
    DevNetResNet50DS,
)
from osadbench.methods.dra import DRA
from osadbench.methods.dra_variants import DRA1A, DRA2A, DRA3AN, DRA3AR, DRANonDisentangled
from osadbench.methods.saoe import SAOE
from osadbench.methods.untrained import Untrained
from osadbench.nn.endtoend import TrainedFeatures
from osadbench.nn.heads import Projection
from osadbench.nn.network_method import NetworkMethod
from osadbench.nn.sampler import NORMAL, PSEUDO, SEEN
from osadbench.registry import METHODS
from osadbench.settings import PRESETS, Engine, engine
from osadbench.testing import toy_images

IMAGES, LABELS = toy_images(12, 4, 64, 1)
UNSEEN, TRUTH = toy_images(9, 9, 64, 2)
SHORT: dict[str, Any] = {"epochs": 1, "steps_per_epoch": 2}
#: Variants, what they are variants of, and the one parameter that makes them so.
VARIANTS: list[tuple[type[NetworkMethod], type[NetworkMethod], str, Any]] = [
    (DRA1A, DRA, "heads", "seen"),
    (DRA2A, DRA, "heads", "seen+pseudo"),
    (DRA3AR, DRA, "heads", "seen+pseudo+residual"),
    (DRA3AN, DRA, "heads", "seen+pseudo+holistic"),
    (DevNetRep, DevNet, "head", "rep"),
    (DevNetDS, DevNet, "head", "ds"),
    (DevNetPatchDS, DevNet, "head", "patch-ds"),
    (DevNetAlexNetDS, DevNet, "head", "ds"),
    (DevNetResNet50DS, DevNet, "head", "ds"),
]
OTHER = {"heads": "residual", "head": "mil"}
each = pytest.mark.parametrize(
    ("variant", "base", "key", "value"), VARIANTS, ids=[variant.name for variant, *_ in VARIANTS]
)


@each
def test_a_variant_is_its_base_with_one_parameter_fixed(
    smoke: Engine, variant: type[NetworkMethod], base: type[NetworkMethod], key: str, value: Any
) -> None:
    named = variant(engine=smoke, seed=1, **SHORT).fit(IMAGES, LABELS)
    given = base(engine=smoke, seed=1, **SHORT, **{key: value}).fit(IMAGES, LABELS)
    assert (named.score(UNSEEN) == given.score(UNSEEN)).all()
    assert named.fitted_digest_ == given.fitted_digest_
    plain = base(engine=smoke, seed=1, **SHORT).fit(IMAGES, LABELS)
    assert (named.score(UNSEEN) != plain.score(UNSEEN)).any()


@each
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_the_bases(
    variant: type[NetworkMethod], base: type[NetworkMethod], key: str, value: Any, preset: str
) -> None:
    assert variant.resolve_params(preset, {}) == base.resolve_params(preset, {key: value})
    assert variant.resolve_params(preset, {"lr": 0.5}) != variant.resolve_params(preset, {})
    assert METHODS.get(variant.name) is variant


def shown(value: Any) -> str:
    return "+".join(value) if isinstance(value, tuple) else str(value)


@each
def test_what_makes_a_variant_cannot_be_set(
    variant: type[NetworkMethod], base: type[NetworkMethod], key: str, value: Any
) -> None:
    fixed = variant.fixed[key]
    wrong: dict[str, Any] = {key: OTHER[key]}
    with pytest.raises(ParameterError) as caught:
        variant(**wrong)
    assert str(caught.value) == (
        f"{variant.name} has {key}={shown(fixed)} by definition, got {shown(OTHER[key])}: leave it "
        "out, or run the method it is a variant of"
    )
    assert variant(**{key: value}).params == variant().params, "saying what it is does no harm"


@each
def test_a_misspelt_parameter_is_reported_under_the_variants_name(
    variant: type[NetworkMethod], base: type[NetworkMethod], key: str, value: Any
) -> None:
    with pytest.raises(ParameterError, match=rf"{variant.name} has no parameter 'leraning_rate'"):
        variant(leraning_rate=1)


def test_ablations_train_the_heads_of_table_3(smoke: Engine) -> None:
    wanted = {
        DRA1A: ["seen"],
        DRA2A: ["seen", "pseudo"],
        DRA3AR: ["seen", "pseudo", "residual"],
        DRA3AN: ["seen", "pseudo", "holistic"],
    }
    for variant, heads in wanted.items():
        network: Any = variant(engine=smoke).build([8])
        assert list(network) == heads
    assert DRA1A().pseudo_source is None
    assert DRA2A().pseudo_source == "cutmix"
    assert [kind().n_references for kind in wanted] == [0, 0, 5, 0]


@pytest.mark.parametrize(
    ("variant", "backbone"),
    [(DevNetAlexNetDS, "alexnet.tv_in1k"), (DevNetResNet50DS, "resnet50.tv_in1k")],
)
def test_variants_with_a_backbone_have_it_in_every_real_preset(
    variant: type[DevNet], backbone: str
) -> None:
    for preset in PRESETS:
        settings = variant(engine=preset).engine
        plain = engine(preset)
        if preset == "smoke":
            assert settings == plain
        else:
            assert settings == plain.model_copy(update={"backbone": backbone})
    named = variant.engine_for("paper", backbone="resnet34.tv_in1k")
    assert named.backbone == "resnet34.tv_in1k", "what the user names is stronger"


@pytest.mark.parametrize("preset", ["frozen", "paper"])
def test_devnet_runs_on_alexnet(preset: str) -> None:
    settings = DevNetAlexNetDS.engine_for(
        preset, weights="random", image_sizes=(128, 64), device="cpu", seen_views=1
    )
    assert settings.backbone == "alexnet.tv_in1k"
    method = DevNetAlexNetDS(engine=settings, batch_size=4, epochs=1, steps_per_epoch=1)
    scores = method.fit(IMAGES[8:14], LABELS[8:14]).score(UNSEEN[:3])
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 3
    if preset == "paper":
        assert isinstance(method._features, TrainedFeatures)
        assert all(p.grad is not None for p in method._features.backbone.parameters())


# The classifier with three classes in place of four heads.


def test_the_plain_classifier_is_saoe_without_outlier_exposure(smoke: Engine) -> None:
    method = DRANonDisentangled(engine=smoke, seed=1, **SHORT)
    assert isinstance(method, SAOE)
    assert not method.needs_outliers
    assert method.n_outliers == 0
    assert method.pseudo_source == "cutmix"
    scores = method.fit(IMAGES, LABELS).score(UNSEEN)
    assert np.isfinite(method.losses_).all()
    assert np.isfinite(scores).all()
    assert len(set(scores)) == len(UNSEEN)


def test_the_plain_classifier_takes_no_external_images(smoke: Engine) -> None:
    with pytest.raises(ParameterError, match="n_outliers"):
        DRANonDisentangled(n_outliers=3)
    labels = np.r_[LABELS[:15], 2]
    with pytest.raises(ContractError, match=r"expected labels of 0 \(normal\) and 1"):
        DRANonDisentangled(engine=smoke, **SHORT).fit(IMAGES, labels)


# DRA without training.


@pytest.fixture(scope="module")
def untrained(smoke: Engine) -> Untrained:
    return Untrained(engine=smoke, seed=1).fit(IMAGES, LABELS)


def test_nothing_is_trained(untrained: Untrained, smoke: Engine) -> None:
    assert untrained.losses_ == []
    assert untrained.initial_digest_ == untrained.fitted_digest_
    trained = DRA(engine=smoke, seed=1, **SHORT).fit(IMAGES, LABELS)
    assert trained.initial_digest_ == untrained.initial_digest_, "DRA's network as it is drawn"
    assert Untrained.is_control
    assert not Untrained.supervised
    for preset in PRESETS:
        assert Untrained(engine=preset).p.epochs == 0


def test_its_scores_are_those_of_dra_with_no_epochs(untrained: Untrained, smoke: Engine) -> None:
    # Without pseudo anomalies: none are made, and the draws of the network come first.
    scores = DRA(engine=smoke, seed=1, epochs=0).fit(IMAGES, LABELS).score(UNSEEN)
    assert (untrained.score(UNSEEN) == scores).all()
    assert np.isfinite(scores).all()
    assert len(set(scores)) == len(UNSEEN)


def test_labelled_anomalies_change_nothing(untrained: Untrained, smoke: Engine) -> None:
    scores = untrained.score(UNSEEN)
    for n in (12, 13):
        method = Untrained(engine=smoke, seed=1).fit(IMAGES[:n], LABELS[:n])
        assert (method.score(UNSEEN) == scores).all()


def test_normals_and_the_seed_decide(untrained: Untrained, smoke: Engine) -> None:
    scores = untrained.score(UNSEEN)
    others = Untrained(engine=smoke, seed=1).fit(toy_images(12, 0, 64, 5)[0], [0] * 12)
    assert (others.score(UNSEEN) != scores).mean() > 0.5, "by way of the references"
    assert others.initial_digest_ == untrained.initial_digest_
    assert (Untrained(engine=smoke, seed=2).fit(IMAGES, LABELS).score(UNSEEN) != scores).all()


def test_no_pseudo_anomaly_is_made_or_cached(smoke: Engine, tmp_path: Any) -> None:
    assert Untrained().pseudo_source is None
    asked: list[Any] = []

    def noted(self: Any, images: Any, requests: Any) -> None:
        asked.extend(view.kind for _, view in requests)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("osadbench.nn.features.FrozenFeatures.compute", noted)
        Untrained(engine=smoke).precompute(IMAGES, LABELS)
    assert "plain" in asked
    assert "cutmix" not in asked


def test_training_it_is_refused() -> None:
    with pytest.raises(ParameterError, match="untrained has epochs=0 by definition, got 3: leave"):
        Untrained(epochs=3)


def test_it_runs_end_to_end_with_a_backbone_as_it_was() -> None:
    settings = end_to_end()
    method = Untrained(engine=settings, seed=1).fit(IMAGES, LABELS)
    assert isinstance(method._features, TrainedFeatures)
    fresh = TrainedFeatures(settings).backbone.state_dict()
    state = method._features.backbone.state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in state.items())
    assert np.isfinite(method.score(UNSEEN)).all()


def test_it_has_score_maps(untrained: Untrained) -> None:
    maps = untrained.score_maps(UNSEEN[:2])
    assert [values.shape for values in maps] == [(64, 64)] * 2
    assert all(np.isfinite(values).all() for values in maps)


# Faults, planted to see that they are found.


#: Scores of DRA's heads at two scales; a map's channel is a head's score.
GIVEN = {"seen": (5.2, 4.8), "pseudo": (3.0, 2.0), "residual": (4.1, 4.3), "holistic": (0.4, 0.2)}


def given_head(number: int) -> Any:
    return lambda maps, *reference: maps[:, number, 0, 0]


def check_ablations_score_with_the_heads_of_table_3() -> None:
    scales = list(zip(*GIVEN.values(), strict=True))
    maps = [torch.tensor(scores, dtype=torch.float64).view(1, 4, 1, 1) for scores in scales]
    for variant, wanted in ((DRA1A, 5.0), (DRA2A, 7.5), (DRA3AR, 11.7), (DRA3AN, 7.2)):
        method = variant()
        method.references_ = [torch.zeros(4, 1, 1)] * 2
        built: Any = method.build([4])
        network = {name: given_head(list(GIVEN).index(name)) for name in built}
        assert method.image_scores(network, maps).tolist() == pytest.approx([wanted], abs=1e-6)


class GivenPatches:
    """A network whose patch scores are its maps, scored by the largest absolute one."""

    def patch_scores(self, maps: Tensor) -> Tensor:
        return maps.flatten(1)

    def __call__(self, maps: Tensor) -> Tensor:
        return maps.flatten(1).abs().amax(dim=1)


def check_ds_takes_the_signed_mean_of_all_patches() -> None:
    maps = [torch.tensor([3.0, -1.0, 0.0, 0.0]).view(1, 1, 2, 2)] * 2
    of_the_mean, of_each = 0.5, 1.0
    for variant, loss in (
        (DevNetDS, of_the_mean),
        (DevNetAlexNetDS, of_the_mean),
        (DevNetResNet50DS, of_the_mean),
        (DevNetPatchDS, of_each),
    ):
        assert variant().image_scores(GivenPatches(), maps).tolist() == [0.5], variant
        with standard_normal():
            value = variant().loss(GivenPatches(), maps, torch.tensor([NORMAL]))
        assert value.item() == loss, variant


def check_rep_takes_the_mean_deviation_of_the_dimensions() -> None:
    maps = [torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1)] * 2
    scores = DevNetRep().image_scores(Projection(3, None), maps)
    assert scores.shape == (1,)
    assert scores.item() == pytest.approx(0.5)
    for code, wanted in ((NORMAL, 1.166667), (SEEN, 4.5)):
        with standard_normal():
            loss = DevNetRep().loss(Projection(3, None), maps, torch.tensor([code]))
        assert loss.item() == pytest.approx(wanted, abs=1e-6)


def check_table_5_has_backbones_of_its_own() -> None:
    for variant, backbone in ((DevNetAlexNetDS, "alexnet"), (DevNetResNet50DS, "resnet50")):
        for preset in ("frozen", "paper", "paper-text"):
            assert variant.engine_for(preset).backbone == f"{backbone}.tv_in1k"


def check_the_plain_classifier_has_no_exposure() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [-1.0, 0.0, 2.0]])
    codes = torch.tensor([NORMAL, SEEN, PSEUDO])

    def network(maps: Tensor) -> Tensor:
        return maps[:, :, 0, 0]

    maps = [logits[:, :, None, None]]
    loss = DRANonDisentangled().loss(network, maps, codes)
    assert loss.item() == pytest.approx(0.268020, abs=1e-6)
    scores = DRANonDisentangled().image_scores(network, maps)
    assert scores.tolist() == pytest.approx([-1.686738, 1.201413, 3.126928], abs=1e-6)


def check_untrained_is_left_as_drawn() -> None:
    method = Untrained(engine=engine("smoke", device="cpu"), seed=1).fit(IMAGES, LABELS)
    assert method.initial_digest_ == method.fitted_digest_
    assert method.losses_ == []


def check_untrained_ignores_anomalies() -> None:
    settings = engine("smoke", device="cpu")
    scores = [
        Untrained(engine=settings, seed=1).fit(IMAGES[:n], LABELS[:n]).score(UNSEEN)
        for n in (13, 16)
    ]
    assert (scores[0] == scores[1]).all()


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def references_of_all(training: Any, n: int, seed: int, *, mixed: bool) -> list[Tensor]:
    images = training.images
    maps: list[Tensor] = training.features.evaluate(images, range(len(images)))
    return [scale.mean(dim=0) for scale in maps]


FAULTS: list[Fault] = [
    *(
        Fault(
            f"{variant.name} keeps all heads",
            variant,
            "fixed",
            {},
            check_ablations_score_with_the_heads_of_table_3,
        )
        for variant in (DRA1A, DRA2A, DRA3AR, DRA3AN)
    ),
    *(
        Fault(
            f"{variant.name} takes the top K",
            variant,
            "fixed",
            {},
            check_ds_takes_the_signed_mean_of_all_patches,
        )
        for variant in (DevNetDS, DevNetAlexNetDS, DevNetResNet50DS, DevNetPatchDS)
    ),
    Fault(
        "devnet-patch-ds learns from the mean",
        DevNetPatchDS,
        "fixed",
        {"head": "ds"},
        check_ds_takes_the_signed_mean_of_all_patches,
    ),
    Fault(
        "devnet-rep takes the top K",
        DevNetRep,
        "fixed",
        {},
        check_rep_takes_the_mean_deviation_of_the_dimensions,
    ),
    *(
        Fault(
            f"{variant.name} takes the preset's backbone",
            variant,
            "engine_settings",
            {},
            check_table_5_has_backbones_of_its_own,
        )
        for variant in (DevNetAlexNetDS, DevNetResNet50DS)
    ),
    Fault(
        "dra-nondisentangled is exposed to outliers",
        DRANonDisentangled,
        "fixed",
        {},
        check_the_plain_classifier_has_no_exposure,
    ),
    Fault("it is trained", Untrained, "fixed", {"epochs": 1}, check_untrained_is_left_as_drawn),
    Fault(
        "anomalies among the references",
        references,
        "fixed",
        references_of_all,
        check_untrained_ignores_anomalies,
    ),
]
