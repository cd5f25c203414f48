from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
import torch
from planted_faults import Check, Fault, each_check
from torch import Tensor, nn
from torch.nn import functional

from osadbench.nn.distillation import Bottleneck, Student

#: The module itself: a fault planted in the stand-in of ``osadbench.nn`` would reach nobody.
distillation = importlib.import_module("osadbench.nn.distillation")
STUDENT = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
TEACHER = torch.tensor([1.5, 1.5, 3.0, 5.0], dtype=torch.float64)


def near(wanted: Any) -> Any:
    return pytest.approx(wanted, abs=1e-6)


def one_point(weight: float, *shape: int) -> float:
    pair = (values.view(1, *shape) for values in (STUDENT, TEACHER))
    (value,) = distillation.discrepancy(*([maps] for maps in pair), weight).tolist()
    return float(value)


def check_one_point() -> None:
    # Whole maps are one vector: how values are spread over channels and places plays no part.
    for shape in ((4, 1, 1), (1, 2, 2), (2, 1, 2)):
        assert one_point(0.0, *shape) == near(0.014279)
        assert one_point(1.0, *shape) == near(0.375 + 0.014279)
        assert one_point(0.5, *shape) == near(0.201779)
        assert one_point(0.01, *shape) == near(0.018029)


def check_points_are_summed_and_images_are_not() -> None:
    students = [STUDENT.view(1, 4, 1, 1).expand(2, 4, 1, 1), torch.ones(2, 3, 2, 2).double()]
    teachers = [torch.stack([TEACHER, STUDENT]).view(2, 4, 1, 1), 3 * students[1]]
    # Three times the same map has the same direction and a squared error of 4.
    wanted = [0.018029 + 0.04, 0.04]
    assert distillation.discrepancy(students, teachers, 0.01).tolist() == near(wanted)


def check_patches_are_compared_by_their_channels() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).T.reshape(1, 2, 1, 2)  # patches (1,0), (0,2)
    teacher = torch.tensor([[3.0, 0.0], [-1.0, 0.0]]).T.reshape(1, 2, 1, 2)
    assert distillation.direction_distance(student, teacher).flatten().tolist() == near([0.0, 1.0])
    opposite = distillation.direction_distance(student, -student)
    assert opposite.flatten().tolist() == near([2.0, 2.0])
    assert opposite.shape == (1, 1, 2)


def student_layers() -> list[list[str]]:
    names = {nn.Conv2d: "c", nn.BatchNorm2d: "b", nn.ReLU: "r", nn.MaxPool2d: "p"}
    blocks: Any = Student((128, 256, 512, 512)).blocks
    return [[names[type(layer)] for layer in block] for block in blocks]


def check_the_student_is_the_public_codes() -> None:
    network = Student((128, 256, 512, 512))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    widths = [16, 16, 16, 128, 16, 16, 256, 16, 16, 512, 16, 16, 512]
    assert [c.out_channels for c in convolutions] == widths
    assert all(c.bias is None and c.kernel_size == (3, 3) for c in convolutions)
    short, long = list("cbrcrp"), list("cbrcbrcrp")
    assert student_layers() == [short, short, long, long, long]
    for convolution in convolutions:
        # Xavier's uniform rule fills the range up to its bound.
        bound = math.sqrt(6 / (9 * (convolution.in_channels + convolution.out_channels)))
        assert 0.95 * bound < convolution.weight.abs().max() <= bound


def check_the_students_maps() -> None:
    maps = Student((128, 256, 512, 512))(torch.rand(2, 3, 128, 128))
    shapes = [tuple(scale.shape) for scale in maps]
    assert shapes == [(2, 128, 32, 32), (2, 256, 16, 16), (2, 512, 8, 8), (2, 512, 4, 4)]


@each_check(globals())
def test_the_specification(check: Check) -> None:
    check()


def test_the_direction_is_pytorchs_cosine_with_its_gradient() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(3, 5, 4, 4, dtype=torch.float64)
    ours, theirs = (torch.randn_like(teacher).requires_grad_() for _ in range(2))
    theirs.data.copy_(ours.data)
    value = distillation.discrepancy([ours], [teacher], 0.0)
    wanted = 1 - functional.cosine_similarity(theirs.flatten(1), teacher.flatten(1))
    assert torch.allclose(value, wanted)
    value.sum().backward()
    wanted.sum().backward()  # type: ignore[no-untyped-call]
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad)


def test_an_empty_map_gives_numbers() -> None:
    student = torch.zeros(1, 2, 2, 2, requires_grad=True)
    value = distillation.discrepancy([student], [torch.ones(1, 2, 2, 2)], 0.5)
    assert value.item() == near(1.5)
    value.backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_the_student_trains_on_a_single_small_image() -> None:
    Student((4, 4, 4, 4)).train()(torch.rand(1, 3, 32, 32))


def test_the_bottleneck_works_on_each_patch() -> None:
    network = Bottleneck(5, 2)
    assert sum(p.numel() for p in network.parameters()) == (5 * 2 + 2) + (2 * 5 + 5)
    maps = torch.randn(2, 5, 3, 4)
    with torch.no_grad():
        rebuilt = network(maps)
        assert rebuilt.shape == maps.shape
        alone = network(maps[1:, :, 2:, 3:])
    assert torch.allclose(rebuilt[1:, :, 2:, 3:], alone, atol=1e-6)


def weight_on_direction(
    students: list[Tensor], teachers: list[Tensor], value_weight: float
) -> Tensor:
    """Give the weight to the other term."""
    pairs = zip(students, teachers, strict=True)
    parts = [
        value_weight * (1 - functional.cosine_similarity(s.flatten(1), t.flatten(1)))
        + (s - t).square().flatten(1).mean(dim=1)
        for s, t in pairs
    ]
    return torch.stack(parts).sum(dim=0)


def summed_error(students: list[Tensor], teachers: list[Tensor], value_weight: float) -> Tensor:
    """Sum squared errors where their mean belongs."""
    parts = [
        1
        - functional.cosine_similarity(s.flatten(1), t.flatten(1))
        + value_weight * (s - t).square().flatten(1).sum(dim=1)
        for s, t in zip(students, teachers, strict=True)
    ]
    return torch.stack(parts).sum(dim=0)


def mean_of_points(students: list[Tensor], teachers: list[Tensor], value_weight: float) -> Tensor:
    """Average over the points."""
    value: Tensor = discrepancy(students, teachers, value_weight)
    return value / len(students)


def norm_everywhere(channels: int, widths: list[int]) -> nn.Sequential:
    """Put batch norm after every convolution."""
    layers: list[nn.Module] = []
    for width in widths:
        convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        nn.init.xavier_uniform_(convolution.weight)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.MaxPool2d(2))


discrepancy = distillation.discrepancy
FAULTS: list[Fault] = [
    Fault(
        "weight on the direction", distillation, "discrepancy", weight_on_direction, check_one_point
    ),
    Fault("errors are summed", distillation, "discrepancy", summed_error, check_one_point),
    Fault(
        "points are averaged",
        distillation,
        "discrepancy",
        mean_of_points,
        check_points_are_summed_and_images_are_not,
    ),
    Fault(
        "similarity in place of distance",
        distillation,
        "direction_distance",
        lambda student, teacher: functional.cosine_similarity(student, teacher, dim=1),
        check_patches_are_compared_by_their_channels,
    ),
    Fault(
        "batch norm before a pool",
        distillation,
        "_student_block",
        norm_everywhere,
        check_the_student_is_the_public_codes,
    ),
    Fault(
        "PyTorch's own initial weights",
        nn.init,
        "xavier_uniform_",
        lambda weight: weight,
        check_the_student_is_the_public_codes,
    ),
]
