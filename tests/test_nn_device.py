from __future__ import annotations

import numpy as np
import pytest
import torch

from osadbench.errors import PrecheckError
from osadbench.method import Method
from osadbench.methods.devnet import DevNet
from osadbench.methods.dra import DRA
from osadbench.nn.device import autocast, device_name, resolve_device, resolve_precision
from osadbench.registry import METHODS
from osadbench.settings import Engine, engine
from osadbench.testing import toy_images

CPU = torch.device("cpu")


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, wanted in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert resolve_device(Engine()).type == wanted


def test_a_named_device_is_taken() -> None:
    assert resolve_device(Engine(device="cpu")) == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused() -> None:
    message = r"device 'cuda' cannot be used \(.+\): give --device cpu, or auto"
    with pytest.raises(PrecheckError, match=message):
        resolve_device(Engine(device="cuda"))
    with pytest.raises(PrecheckError, match=message):
        DevNet(engine=engine("smoke", device="cuda")).fit(*toy_images(4, 1))


@pytest.mark.parametrize("name", ["graphics", "cuda:x", ""])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(PrecheckError, match=rf"device '{name}' cannot be used \(.+\): give"):
        resolve_device(Engine(device=name))


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("flags : fpu sse2 avx512f", "fp32"),
        ("flags : fpu avx512_bf16", "fp32"),
        ("flags : fpu amx_bf16 amx_tile", "bf16"),
        ("Features : fp asimd", "fp32"),
        ("nothing is known", "fp32"),
    ],
)
def test_auto_precision_asks_the_processor(
    monkeypatch: pytest.MonkeyPatch, flags: str, precision: str
) -> None:
    monkeypatch.setattr("osadbench.nn.device._cpu_info", lambda: ["model name : Some CPU", flags])
    assert resolve_precision(Engine(), CPU) == precision
    assert device_name(CPU) == "Some CPU"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_named_precision_is_taken(precision: str) -> None:
    settings = Engine.model_validate({"precision": precision})
    assert resolve_precision(settings, CPU) == precision
    assert resolve_precision(settings, torch.device("cuda")) == precision


def test_other_devices_compute_in_full_precision() -> None:
    assert resolve_precision(Engine(), torch.device("mps")) == "fp32"
    assert device_name(torch.device("mps")) == "mps"


def test_processors_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["cpu family\t: 25", "model\t\t: 17", "model name\t: AMD EPYC", "", "model : 99"]
    monkeypatch.setattr("osadbench.nn.device._cpu_info", lambda: lines)
    assert device_name(CPU) == "AMD EPYC (family 25 model 17)"


def test_a_machine_without_cpuinfo_has_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("osadbench.nn.device._cpu_info", lambda: [])
    assert device_name(CPU)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_autocast_lowers_the_precision_of_products(precision: str, dtype: torch.dtype) -> None:
    with autocast(CPU, precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("method", [DRA, DevNet])
@pytest.mark.parametrize("preset", ["smoke", "paper"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_methods_train_on_a_gpu(
    method: type[DRA] | type[DevNet], preset: str, precision: str
) -> None:
    settings = engine(
        preset, device="cuda", weights="random", image_sizes=(64, 32), precision=precision
    )
    images, labels = toy_images(12, 4)
    fitted = method(engine=settings, epochs=1, steps_per_epoch=2, batch_size=8)
    fitted.fit(images, labels)
    scores = fitted.score(images)
    assert next(fitted.network_.parameters()).is_cuda
    assert scores.shape == (16,)
    assert (scores == fitted.score(images)).all()
    alone = fitted.score(images[:1])
    assert alone == pytest.approx(scores[:1], rel=1e-3, abs=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_computes_on_a_gpu(name: str) -> None:
    kind: type[Method] = METHODS.get(name)
    images, labels = toy_images(12, 4)
    others, _ = toy_images(0, 4, green=True)
    scores = []
    for device in ("cuda", "cpu"):
        method = kind(engine=kind.engine_for("smoke", device=device), seed=1)
        if method.needs_outliers:
            method.fit(np.concatenate([images, others]), np.r_[labels, [2] * 4])
        else:
            method.fit(images, labels)
        scores.append(method.score(images))
        assert np.isfinite(scores[-1]).all()
        if type(method).score_maps is not Method.score_maps:
            maps = method.score_maps(images[:2])
            assert [values.shape for values in maps] == [(64, 64)] * 2
            assert all(np.isfinite(values).all() for values in maps)
    # One seed draws the same on both; training then drifts apart by rounding.
    agreement = np.asarray(np.corrcoef(np.stack(scores)))
    assert agreement[0, 1] > 0.9
