from __future__ import annotations

import pydantic
import pytest

from osadbench.errors import ParameterError, UsageError
from osadbench.settings import PRESETS, Engine, engine


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_gives_settings_that_name_it(preset: str) -> None:
    settings = engine(preset)
    assert settings.preset == preset
    for name, value in PRESETS[preset].items():
        assert getattr(settings, name) == value


def test_the_presets_are_these() -> None:
    assert set(PRESETS) == {"frozen", "paper", "paper-text", "smoke"}
    assert engine() == engine("frozen") == Engine()
    assert not engine("frozen").train_backbone
    assert engine("paper").train_backbone
    assert engine("paper").image_sizes == (448, 224)
    assert engine("paper").backbone == "resnet18.tv_in1k"
    assert engine("smoke").weights == "random"


def test_overrides_win_and_strings_are_parsed() -> None:
    settings = engine("paper", train_backbone="false", image_sizes=(96, 64), cache_dir="x")
    assert not settings.train_backbone
    assert settings.image_sizes == (96, 64)
    assert settings.cache_dir == "x"
    assert settings.backbone == engine("paper").backbone


def test_unknown_presets_offer_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no preset 'papers': did you mean paper.* known: frozen"):
        engine("papers")


def test_wrong_settings_are_reported_together() -> None:
    with pytest.raises(ParameterError) as caught:
        engine("smoke", backbon="resnet18", precision="fp16")
    assert "engine has no parameter 'backbon' (did you mean backbone" in str(caught.value)
    assert "engine.precision='fp16': input should be 'auto', 'fp32' or 'bf16'" in str(caught.value)


@pytest.mark.parametrize("sizes", [(), (16,), (224, 448), (448, 16)])
def test_image_sizes_come_largest_first_and_not_tiny(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ParameterError, match="image sizes must be 32 pixels or more, largest"):
        engine("smoke", image_sizes=sizes)


def test_settings_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        engine().device = "cpu"


def test_identity_holds_what_changes_scores_and_nothing_else() -> None:
    here = engine("smoke")
    there = engine("smoke", device="cuda:1", offline=True, cache_dir="elsewhere", weights="a.pth")
    assert here.identity() == there.identity()
    for name, value in {
        "backbone": "resnet18",
        "image_sizes": (64,),
        "pyramid": "nearest",
        "train_backbone": True,
        "precision": "bf16",
    }.items():
        assert engine("smoke", **{name: value}).identity() != here.identity(), name
    assert engine("frozen", **PRESETS["smoke"]).identity() != here.identity()
