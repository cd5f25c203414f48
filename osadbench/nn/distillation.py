"""What teacher-student methods share: the distance between maps, and the networks that imitate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Bottleneck", "Student", "direction_distance", "discrepancy"]

#: Width of the student's layers between its critical points.
NARROW = 16
#: Smallest product of norms that a cosine is divided by; the cosine with an empty map is 0.
EPSILON = 1e-8


def discrepancy(
    students: Sequence[Tensor], teachers: Sequence[Tensor], value_weight: float
) -> Tensor:
    """Return how far a student's maps are from its teacher's, summed over several points.

    Per image and point ``1 - cos(s, t) + value_weight mean((s - t)^2)``, where s and t are whole
    maps as one vector each: the loss of the public code of Salehi et al.: Multiresolution Knowledge
    Distillation for Anomaly Detection, CVPR 2021.

    Args:
        students: Float ``(B, C, h, w)`` per point.
        teachers: The same shapes.
        value_weight: Weight of the squared error beside the direction.

    Returns:
        ``(B,)``, 0 (equal maps) or more.
    """
    parts = [
        _one_point(student, teacher, value_weight)
        for student, teacher in zip(students, teachers, strict=True)
    ]
    return torch.stack(parts).sum(dim=0)


def _one_point(student: Tensor, teacher: Tensor, value_weight: float) -> Tensor:
    # In the order in which the maps lie in memory, channels last; the order changes no value.
    s, t = (maps.permute(0, 2, 3, 1).flatten(1) for maps in (student, teacher))
    # Written out: on a CPU, PyTorch's own cosine similarity takes longer in training.
    norms = torch.linalg.vector_norm(s, dim=1) * torch.linalg.vector_norm(t, dim=1)
    direction: Tensor = 1 - (s * t).sum(dim=1) / norms.clamp(min=EPSILON)
    errors: Tensor = functional.mse_loss(s, t, reduction="none").mean(dim=1)
    return direction + value_weight * errors


def direction_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return ``1 - cos`` of each patch's channels, ``(B, h, w)``, of maps ``(B, C, h, w)``."""
    return 1 - functional.cosine_similarity(student, teacher, dim=1)


class Student(nn.Module):
    """The small student of KDAD's public code (configuration B): a narrow network like VGG-16.

    Thirteen 3x3 convolutions without bias in five blocks, each block ended by 2x2 max pooling. All
    are 16 wide but the last one of blocks two to five, whose pooled maps are compared with the
    teacher's. Batch norm and ReLU follow each convolution; the last one of a block has no batch
    norm. Weights start by Xavier's uniform rule.

    Args:
        widths: Channels of the teacher's maps at pools two to five: four numbers.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        second, *deeper = widths
        plan = [[NARROW, NARROW], [NARROW, second], *([NARROW, NARROW, width] for width in deeper)]
        self.blocks = nn.ModuleList()
        channels = 3
        for block in plan:
            self.blocks.append(_student_block(channels, block))
            channels = block[-1]
        # Convolutions on a CPU take less time with the channels last.
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the pooled maps of blocks two to five of images ``(B, 3, S, S)``.

        Their sides are S / 4, S / 8, S / 16 and S / 32.
        """
        maps = pixels.contiguous(memory_format=torch.channels_last)
        outputs = []
        for block in self.blocks:
            maps = block(maps)
            outputs.append(maps)
        return outputs[1:]


def _student_block(channels: int, widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for place, width in enumerate(widths, 1):
        convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
        nn.init.xavier_uniform_(convolution.weight)
        layers.append(convolution)
        if place < len(widths):
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
        channels = width
    return nn.Sequential(*layers, nn.MaxPool2d(2))


class Bottleneck(nn.Module):
    """An auto-encoder of patches: 1x1 convolutions from C to few channels and back, with ReLU.

    Args:
        channels: C of the maps.
        width: Channels in between.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        # Linear layers on the channels: the sums of 1x1 convolutions, and faster on a CPU.
        self.layers = nn.Sequential(
            nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, channels)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return the rebuilt maps ``(B, C, h, w)`` of maps ``(B, C, h, w)``."""
        rebuilt: Tensor = self.layers(maps.permute(0, 2, 3, 1))
        return rebuilt.permute(0, 3, 1, 2)
