"""Where tokens look: the centre and the extent of what each sees of its input, by the geometry of the layers before it.

An embedder that pads its strided 3×3 convolutions evenly, as ResNets do, has its tokens' centres up and left of the
cells that they are taken for: output r of such a layer looks around input 2 r, where the middle of inputs 2 r and
2 r + 1 would be 2 r + 1/2. Over a stack the shifts add up to nearly half a token.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ReceptiveField:
    """What the tokens along one axis of an input see of it, in its pixels or cells: the middle of the first is 0.5.

    It is what can reach a token through its layers (Araujo, Norris and Sim 2019); norms whose statistics are over the
    whole input are not counted.

    Attributes:
        length: of the input along this axis.
        centre: of what the first token sees.
        stride: from a token's centre to that of the next.
        size: how much each token sees; None where that is all.
    """

    length: int
    centre: float = 0.5
    stride: float = 1.0
    size: float | None = 1.0

    def after(self, kernel: int, stride: int = 1, before: int = 0, dilation: int = 1) -> "ReceptiveField":
        """Behind a layer that looks at `kernel` neighbours: the one rule of which all else is composed.

        Args:
            before: zeros in front of the layer's first input; fewer than none where inputs are cut off.
        """
        reach = (kernel - 1) * dilation
        return replace(
            self,
            centre=self.centre + (reach / 2 - before) * self.stride,
            stride=self.stride * stride,
            size=None if self.size is None else self.size + reach * self.stride,
        )

    def beside(self, other: "ReceptiveField") -> "ReceptiveField":
        """Where two branches meet: all that either sees.

        Raises:
            ValueError: their tokens don't lie equally far apart.
        """
        if self.stride != other.stride:
            raise ValueError(f"expected branches of the same stride, found {self.stride:g} and {other.stride:g}")
        if self.size is None or other.size is None:
            return replace(self, size=None)
        low = min(self.centre - self.size / 2, other.centre - other.size / 2)
        high = max(self.centre + self.size / 2, other.centre + other.size / 2)
        return replace(self, centre=(low + high) / 2, size=high - low)

    def centres(self, tokens: int) -> tuple[float, ...]:
        """Of so many tokens, in 0–1 of the input; outside it where a token looks mostly at what is padded."""
        return tuple((self.centre + token * self.stride) / self.length for token in range(tokens))

    def shift(self, tokens: int) -> float:
        """How far the centre of the first of so many tokens lies behind that of the first of as many even cells, in
        cells; before it where negative."""
        return self.centre * tokens / self.length - 0.5


class UnevenConvolution(nn.Conv2d):
    """A convolution with other zeros above and to the left than below and to the right; fewer than none cut inputs off.

    Attributes:
        before, behind: how many of each.
    """

    def __init__(self, of: nn.Conv2d, stride: int, before: int, behind: int) -> None:
        """`of` says the shape of its weights."""
        side = (of.kernel_size[0], of.kernel_size[1])
        super().__init__(of.in_channels, of.out_channels, side, stride, bias=of.bias is not None)
        self.before, self.behind = before, behind

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, (self.before, self.behind, self.before, self.behind)))


def receptive_field(layers: nn.Module, length: int, axis: int) -> ReceptiveField:
    """What each output of some layers sees of an input.

    Layers are gone through in the order in which their module has them; one that is called `downsample` lies beside the
    others, as in torchvision's residual blocks. What has no kernel sees its own place only, and a transformer all.

    Args:
        length: of the input, in pixels or cells.
        axis: 0 over its height, 1 over its width; of clips 0 over time, then these.
    """
    return _through(ReceptiveField(length), layers, axis)


def _through(field: ReceptiveField, layer: nn.Module, axis: int) -> ReceptiveField:
    if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | nn.Conv3d | nn.AvgPool3d):
        before = layer.before if isinstance(layer, UnevenConvolution) else _along(layer.padding, axis)
        dilation = 1 if isinstance(layer, nn.AvgPool2d | nn.AvgPool3d) else _along(layer.dilation, axis)
        return field.after(_along(layer.kernel_size, axis), _along(layer.stride, axis), before, dilation)
    if getattr(layer, "sees_all", False):
        return replace(field, size=None)
    shortcut = getattr(layer, "downsample", None)
    own = _in_a_row(field, (child for name, child in layer.named_children() if name != "downsample"), axis)
    return own if shortcut is None else own.beside(_through(field, shortcut, axis))


def _in_a_row(field: ReceptiveField, layers: Iterable[nn.Module], axis: int) -> ReceptiveField:
    for layer in layers:
        field = _through(field, layer, axis)
    return field


def _along(size: object, axis: int) -> int:
    """Of a kernel, a stride or a padding, which may be the same over both axes."""
    one = size[axis] if isinstance(size, tuple) else size
    if not isinstance(one, int):
        raise TypeError(f"expected a kernel, stride or padding in whole numbers, found {size!r}")
    return one
