"""Convolutional image encoder: an image becomes a grid of features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class ImageEncoder(nn.Module):
    """The first layer halves the image; each further stage halves it again and has `convolutions` layers of 3 x 3.

    Every layer is a convolution without bias, batch normalisation (Ioffe and Szegedy 2015), and ReLU.
    """

    def __init__(self, channels: Sequence[int], convolutions: int, inputs: int = 3) -> None:
        super().__init__()
        first, *further = channels
        self.stages = nn.ModuleList([nn.ModuleList([ConvolutionLayer(inputs, first, 4, 2)])])
        for before, width in zip(channels, further, strict=False):
            sizes = [before] + [width] * (convolutions - 1)
            self.stages.append(nn.ModuleList(ConvolutionLayer(size, width, 3, 1) for size in sizes))

    def forward(self, pictures: Tensor) -> Tensor:
        """`[batch, inputs, rows, columns]` -> `[batch, channels, grid rows, grid columns]`."""
        features = pictures
        for number, stage in enumerate(self.stages):
            features = features if number == 0 else nn.functional.max_pool2d(features, 2)
            assert isinstance(stage, nn.ModuleList)
            for layer in stage:
                features = layer(features)
        return features


class ConvolutionLayer(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=1, bias=False)
        self.normalise = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        activated: Tensor = self.normalise(self.convolution(features)).relu()
        return activated
