"""Encoders of images into vectors around a fixed centre, and the decoders that pre-train them.

No layer has a bias and no batch norm an affine part: with either an encoder could map all images to
the centre, whatever they show (Ruff et al., ICML 2018, proposition 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "Encoder",
    "Hypersphere",
    "LeNetEncoder",
    "PooledEncoder",
    "away_from_zero",
    "global_contrast_normalisation",
]

#: Side length of the images that Deep SVDD's small network takes.
LENET_SIZE = 32


class Encoder(nn.Module, ABC):
    """A bias-free network, and how maps or pixels become its inputs.

    Args:
        layers: The network, from inputs ``(B, ...)`` to vectors ``(B, D)``.
    """

    offset: Tensor
    span: Tensor

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("span", torch.ones(()))

    @abstractmethod
    def raw(self, maps: Sequence[Tensor]) -> Tensor:
        """Return what the maps hold for the encoder, before :meth:`calibrate` has its say."""

    @abstractmethod
    def calibrate(self, raw: Tensor) -> None:
        """Fit the range of the inputs to the training normals' raw inputs ``(n, ...)``."""

    @abstractmethod
    def decoder(self) -> nn.Module:
        """Return a new network from vectors ``(B, D)`` back to inputs."""

    def inputs(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the inputs ``(B, ...)`` of maps: raw, shifted and scaled."""
        return (self.raw(maps) - self.offset) / self.span

    def forward(self, inputs: Tensor) -> Tensor:
        """Return vectors ``(B, D)`` of inputs."""
        vectors: Tensor = self.layers(inputs)
        return vectors

    def _set_range(self, offset: Tensor | float, span: Tensor) -> None:
        self.offset.fill_(offset)
        # Images that are all one colour leave nothing to divide by.
        self.span.fill_(span.clamp(min=torch.finfo(span.dtype).eps))


class PooledEncoder(Encoder):
    """Linear layers on the global averages of the maps, averaged over the scales.

    Args:
        channels: C of the maps.
        hidden: Width of a hidden layer with leaky ReLU; None for a single linear layer.
        dimensions: D of the vectors.
    """

    def __init__(self, channels: int, hidden: int | None, dimensions: int) -> None:
        self.widths = [channels, *([] if hidden is None else [hidden]), dimensions]
        super().__init__(_perceptron(self.widths))

    def raw(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the averages ``(B, C)`` of maps ``(B, C, h, w)``."""
        return torch.stack([scale.mean(dim=(2, 3)) for scale in maps]).mean(dim=0)

    def calibrate(self, raw: Tensor) -> None:
        """Scale the inputs so that the training normals' mean square is 1.

        One factor and no shift: centred inputs would lie around 0, which a bias-free network maps
        to 0 and never to the centre.
        """
        self._set_range(0.0, raw.square().mean().sqrt())

    def decoder(self) -> nn.Module:
        """Return the mirrored linear layers."""
        return _perceptron(self.widths[::-1])


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.LeakyReLU()] if layers else []
        layers.append(nn.Linear(n_in, n_out, bias=False))
    return nn.Sequential(*layers)


class LeNetEncoder(Encoder):
    """Deep SVDD's network for CIFAR-10, with its public code's preparation of the pixels.

    Three blocks of 5x5 convolution, batch norm, leaky ReLU and 2x2 max pooling, with 32, 64 and 128
    channels, and a linear layer.

    Args:
        dimensions: D of the vectors, a multiple of 16; 128 in the public code.
    """

    def __init__(self, dimensions: int = 128) -> None:
        self.dimensions = dimensions
        channels = [3, 32, 64, 128]
        blocks: list[nn.Module] = []
        for n_in, n_out in zip(channels[:-1], channels[1:], strict=True):
            convolution = nn.Conv2d(n_in, n_out, kernel_size=5, padding=2, bias=False)
            blocks += [_xavier(convolution), _batch_norm(n_out), nn.LeakyReLU(), nn.MaxPool2d(2)]
        side = LENET_SIZE // 8
        linear = nn.Linear(channels[-1] * side * side, dimensions, bias=False)
        super().__init__(nn.Sequential(*blocks, nn.Flatten(), linear))

    def raw(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the last map, pixels ``(B, 3, S, S)`` of 0 to 1, in 32x32 and normalised."""
        pixels = maps[-1]
        if pixels.shape[-1] != LENET_SIZE:
            pixels = functional.interpolate(
                pixels, size=LENET_SIZE, mode="bilinear", antialias=True, align_corners=False
            )
        return global_contrast_normalisation(pixels)

    def calibrate(self, raw: Tensor) -> None:
        """Scale the training normals' values to 0 to 1.

        The public code holds the smallest and largest value of each class of CIFAR-10; those of the
        training normals at hand are ours.
        """
        self._set_range(raw.min(), raw.max() - raw.min())

    def decoder(self) -> nn.Module:
        """Return the public code's decoder."""
        return _LeNetDecoder(self.dimensions)


class _LeNetDecoder(nn.Module):
    """Four transposed 5x5 convolutions with upsampling between them, and a sigmoid."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm1d(dimensions, eps=1e-4, affine=False)
        channels = [dimensions // 16, 128, 64, 32]
        blocks: list[nn.Module] = []
        for n_in, n_out in zip(channels[:-1], channels[1:], strict=True):
            blocks += [_transposed(n_in, n_out), _batch_norm(n_out)]
            blocks += [nn.LeakyReLU(), nn.Upsample(scale_factor=2)]
        self.blocks = nn.Sequential(*blocks, _transposed(channels[-1], 3), nn.Sigmoid())

    def forward(self, vectors: Tensor) -> Tensor:
        # The last batch of a pass may be a single image, which has no variance.
        normed = self.first_norm(vectors) if len(vectors) > 1 else vectors
        images: Tensor = self.blocks(functional.leaky_relu(normed).view(len(vectors), -1, 4, 4))
        return images


def _transposed(n_in: int, n_out: int) -> nn.Module:
    return _xavier(nn.ConvTranspose2d(n_in, n_out, kernel_size=5, padding=2, bias=False))


def _batch_norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, eps=1e-4, affine=False)


def _xavier(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    gain = nn.init.calculate_gain("leaky_relu")
    nn.init.xavier_uniform_(convolution.weight, gain=gain)
    return convolution


def global_contrast_normalisation(images: Tensor) -> Tensor:
    """Subtract each image's mean and divide by its mean absolute value (L1), as Deep SVDD does.

    Args:
        images: Float ``(B, 3, S, S)``; mean and scale are taken over all three channels together.
    """
    centred = images - images.mean(dim=(1, 2, 3), keepdim=True)
    scale = centred.abs().mean(dim=(1, 2, 3), keepdim=True)
    # An image of one colour has no contrast: what rounding leaves of it is not blown up.
    return centred / scale.clamp(min=1e-5)


class Hypersphere(nn.Module):
    """An encoder with the centre, and for soft boundaries the radius, of its normal images.

    Args:
        encoder: The encoder.
        dimensions: D of its vectors.

    Attributes:
        centre: ``(D,)``.
        radius: A scalar; 0 where the method has none.
    """

    centre: Tensor
    radius: Tensor

    def __init__(self, encoder: Encoder, dimensions: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("centre", torch.zeros(dimensions))
        self.register_buffer("radius", torch.zeros(()))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return vectors ``(B, D)`` of maps, one per scale."""
        vectors: Tensor = self.encoder(self.encoder.inputs(maps))
        return vectors

    def distances(self, maps: Sequence[Tensor]) -> Tensor:
        """Return squared distances ``(B,)`` to the centre."""
        distances: Tensor = (self(maps) - self.centre).square().sum(dim=1)
        return distances


def away_from_zero(centre: Tensor, smallest: float = 0.1) -> Tensor:
    """Return a centre whose coordinates all have at least this absolute value.

    Zero weights would meet a coordinate of zero without looking at the image. The public code of
    Deep SVDD and Deep SAD moves small coordinates by their sign and leaves those of exactly 0; that
    these move up is ours.

    Args:
        centre: Float ``(D,)``.
        smallest: 0.1 in the public code.
    """
    moved = torch.where(centre < 0, -smallest, smallest)
    return torch.where(centre.abs() < smallest, moved.to(centre.dtype), centre)
