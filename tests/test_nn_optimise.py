from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from osadbench.errors import ContractError
from osadbench.methods.devnet import DevNet
from osadbench.methods.dra import DRA
from osadbench.nn.optimise import optimise, state_digest
from osadbench.nn.schedule import OptimiserParams, learning_rate


def rates(method: type[DevNet] | type[DRA], preset: str, epochs: int) -> list[float]:
    params = method.resolve_params(preset, {})
    assert isinstance(params, OptimiserParams)
    return [learning_rate(params, epoch) for epoch in range(epochs)]


def test_dra_steps_its_rate_at_the_start_of_an_epoch() -> None:
    wanted = [2e-4] * 9 + [2e-5] * 10 + [2e-6] * 10 + [2e-7]
    assert rates(DRA, "paper", 30) == pytest.approx(wanted)


def test_devnet_steps_its_rate_at_the_end_of_an_epoch() -> None:
    wanted = [2e-4] * 10 + [2e-5] * 10 + [2e-6] * 10 + [2e-7] * 10 + [2e-8] * 10
    assert rates(DevNet, "paper", 50) == pytest.approx(wanted)


@pytest.mark.parametrize("method", [DevNet, DRA])
@pytest.mark.parametrize("preset", ["paper-text", "frozen"])
def test_the_text_keeps_its_rate(method: type[DevNet] | type[DRA], preset: str) -> None:
    assert rates(method, preset, 50) == [1e-3] * 50


@pytest.mark.parametrize(
    ("falls", "wanted"),
    [
        (0, [1e0, 1e0, 1e-1, 1e-1, 1e-2, 1e-2, 1e-3]),
        (1, [1e0, 1e0, 1e-1, 1e-1, 1e-1, 1e-1, 1e-1]),
        (2, [1e0, 1e0, 1e-1, 1e-1, 1e-2, 1e-2, 1e-2]),
    ],
)
def test_the_rate_falls_so_often_at_most(falls: int, wanted: list[float]) -> None:
    params = OptimiserParams(lr=1.0, lr_step=2, lr_falls=falls)
    assert [learning_rate(params, epoch) for epoch in range(7)] == pytest.approx(wanted)


def test_falls_without_a_step_change_nothing() -> None:
    params = OptimiserParams(lr=1.0, lr_falls=1)
    assert [learning_rate(params, epoch) for epoch in range(4)] == [1.0] * 4


@pytest.mark.parametrize(("method", "epochs"), [(DevNet, 50), (DRA, 30)])
def test_the_papers_optimisers(method: type[DevNet] | type[DRA], epochs: int) -> None:
    code, text = (method.resolve_params(preset, {}) for preset in ("paper", "paper-text"))
    assert isinstance(code, OptimiserParams)
    assert isinstance(text, OptimiserParams)
    assert (code.weight_decay, text.weight_decay) == (1e-5, 1e-2)
    assert (code.gradient_clip, text.gradient_clip) == (1.0, 0.0)
    for params in (code, text):
        assert (params.batch_size, params.steps_per_epoch, params.epochs) == (48, 20, epochs)


class Recorder(torch.optim.Adam):
    """Adam that notes what it was made with, and the rate and gradients of every step."""

    made: list[dict[str, Any]] = []
    steps: list[tuple[float, list[Tensor]]] = []

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, **options)
        self.made.append(options)

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            gradients = [parameter.grad.clone() for parameter in group["params"]]
            self.steps.append((group["lr"], gradients))
        return super().step(closure)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setattr(torch.optim, "Adam", Recorder)
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(Recorder, "steps", [])
    return Recorder


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor([3.0, -4.0]))


def slope(tensor: nn.Parameter, factor: float = 1.0) -> Callable[[], Tensor]:
    return lambda: factor * (tensor * torch.tensor([3.0, 4.0])).sum()


@pytest.mark.parametrize(("start", "fall"), [("start", 1), ("end", 2)])
def test_every_step_has_the_schedules_rate(
    recorder: type[Recorder], start: Literal["start", "end"], fall: int
) -> None:
    params = OptimiserParams(
        epochs=4, steps_per_epoch=3, lr=0.5, lr_step=2, lr_step_at=start, weight_decay=0.25
    )
    tensor = parameter()
    history = optimise([tensor], slope(tensor), params)
    wanted = [learning_rate(params, epoch) for epoch in range(4) for _ in range(3)]
    assert [rate for rate, _ in recorder.steps] == wanted
    assert wanted[3 * fall - 1] == 0.5 > wanted[3 * fall]
    assert recorder.made[0]["weight_decay"] == 0.25
    assert len(history) == 4


@pytest.mark.parametrize(
    ("clip", "factor", "norm"), [(1.0, 1.0, 1.0), (1.0, 0.1, 0.5), (0.0, 1.0, 5.0), (2.0, 9.0, 2.0)]
)
def test_gradients_are_clipped_by_their_common_norm(
    recorder: type[Recorder], clip: float, factor: float, norm: float
) -> None:
    parts = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([-4.0]))
    optimise(
        parts,
        lambda: factor * (3 * parts[0] + 4 * parts[1]).sum(),
        OptimiserParams(epochs=1, steps_per_epoch=1, gradient_clip=clip),
    )
    gradients = torch.cat(recorder.steps[0][1])
    assert gradients.norm().item() == pytest.approx(norm, rel=1e-4)
    assert (gradients[1] / gradients[0]).item() == pytest.approx(4 / 3)


def test_weight_decay_is_coupled_and_comes_after_clipping() -> None:
    lr, decay, clip = 0.1, 0.3, 1.0
    tensor = parameter()
    params = OptimiserParams(
        lr=lr, weight_decay=decay, gradient_clip=clip, epochs=2, steps_per_epoch=2, lr_step=1
    )
    optimise([tensor], lambda: (tensor**2).sum(), params)
    # Adam by hand (Kingma and Ba, algorithm 1) with the penalty's gradient added to the loss's.
    value = torch.tensor([3.0, -4.0], dtype=torch.float64)
    first = second = torch.zeros(2, dtype=torch.float64)
    for step in range(1, 5):
        gradient = 2 * value
        gradient = gradient * min(1.0, clip / float(gradient.norm())) + decay * value
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = first / (1 - 0.9**step)
        rate = lr if step <= 2 else lr / 10
        value = value - rate * corrected / ((second / (1 - 0.999**step)) ** 0.5 + 1e-8)
    assert tensor.tolist() == pytest.approx(value.tolist(), rel=1e-4)


def test_the_history_is_the_mean_loss_of_each_epoch() -> None:
    tensor = nn.Parameter(torch.zeros(1))
    values = iter(range(6))
    history = optimise(
        [tensor],
        lambda: tensor.sum() * 0 + next(values),
        OptimiserParams(epochs=2, steps_per_epoch=3),
    )
    assert history == [1.0, 4.0]


def test_the_caller_may_name_the_steps(recorder: type[Recorder]) -> None:
    tensor = parameter()
    params = OptimiserParams(epochs=2, steps_per_epoch=0)
    values = iter(range(10))
    history = optimise([tensor], lambda: tensor.sum() * 0 + next(values), params, steps=5)
    assert len(recorder.steps) == 10
    assert history == [2.0, 7.0]


def test_named_steps_are_stronger_than_the_parameters(recorder: type[Recorder]) -> None:
    tensor = parameter()
    optimise([tensor], slope(tensor), OptimiserParams(epochs=3, steps_per_epoch=7), steps=2)
    assert len(recorder.steps) == 6


def test_epochs_are_announced_before_their_first_step(recorder: type[Recorder]) -> None:
    tensor = parameter()
    announced: list[tuple[int, int]] = []
    optimise(
        [tensor],
        slope(tensor),
        OptimiserParams(epochs=3, steps_per_epoch=2),
        on_epoch=lambda epoch: announced.append((epoch, len(recorder.steps))),
    )
    assert announced == [(0, 0), (1, 2), (2, 4)]


def test_no_epochs_leave_everything_as_it_is() -> None:
    tensor = parameter()
    announced: list[int] = []
    history = optimise(
        [tensor], slope(tensor), OptimiserParams(epochs=0), on_epoch=announced.append
    )
    assert history == announced == []
    assert tensor.tolist() == parameter().tolist()


def test_a_loss_is_minimised() -> None:
    tensor = parameter()
    params = OptimiserParams(lr=0.5, weight_decay=0, epochs=30, gradient_clip=0)
    history = optimise([tensor], lambda: ((tensor - 1) ** 2).sum(), params)
    assert tensor.tolist() == pytest.approx([1, 1], abs=0.05)
    assert history[-1] < 0.01 < history[0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_training(bad: float) -> None:
    tensor = parameter()
    values = iter([1.0, 1.0, 1.0, bad])
    with pytest.raises(ContractError, match=rf"loss became {bad} in epoch 2: try a lower learning"):
        optimise(
            [tensor],
            lambda: tensor.sum() * 0 + next(values),
            OptimiserParams(epochs=3, steps_per_epoch=2),
        )


def test_the_digest_is_of_the_values() -> None:
    tensor = parameter()
    first = state_digest([tensor])
    assert first == state_digest([tensor.detach().clone()])
    assert len(first) == 64
    with torch.no_grad():
        tensor[0] += 1e-6
    assert state_digest([tensor]) != first
    assert state_digest([]) != first
