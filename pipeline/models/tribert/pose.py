"""Pose tokens: persons' keypoints over time, by graph convolutions (paper 001; ST-GCN, Yan et al. 2018)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.features.float32 import Float32Buffers
from pipeline.models.norms import norm_layer
from pipeline.models.recompute import Stages
from pipeline.models.settings import Norm
from pipeline.models.tribert.settings import TribertSettings
from pipeline.samples.skeleton import BONES, POINTS

_CENTRE = 18
"""The neck, from which near and far are told."""
_STEPS = 9
"""That a convolution over time sees."""
_LEAST_SIDE = 1e-3
"""Of a person's box: a lone point has none."""
_WHOLE = (0.0, 0.0, 1.0, 1.0, 1.0)
"""Box and area of the whole square."""


class PoseNetwork(nn.Module):
    """Graph convolutions over the points of each person by itself, and a linear layer on all points' features.

    The steps are shared evenly between the frames; a frame's features are the mean over its own, each of which has
    looked at many around it. In front of the frames is one that stands for all: the sum of the features over the number
    of tokens, as in the public code, and the whole square as its box.
    """

    def __init__(self, settings: TribertSettings, frames: int) -> None:
        """`frames`: of the tokens, without the first."""
        super().__init__()
        self.frames, self.by_person = frames, settings.measured == "person"
        channels = (3, *settings.graph_widths)
        self.input_norm = norm_layer(settings.norm)(POINTS * channels[0])
        self.graphs = Stages(
            GraphConvolution(channels[place], channels[place + 1], stride, settings.norm, residual=place > 0)
            for place, stride in enumerate(settings.graph_strides)
        )
        self.project = nn.Linear(channels[-1] * POINTS, settings.pose_width)
        self.locate = nn.Linear(len(_WHOLE), settings.pose_width)

    def forward(self, keypoints: Tensor) -> Tensor:
        """Keypoints [B, T, P, 68, 3], in float32 in a network of 16 bits too → tokens [B, (1 + frames)·P, D]."""
        features = self.features(keypoints)
        persons = features.shape[2]
        whole = features.sum(1, keepdim=True) / (self.frames * persons)
        boxes = _shared(boxes_of(keypoints), self.frames).to(features.dtype)
        everywhere = boxes.new_tensor(_WHOLE).expand(len(boxes), 1, persons, -1)
        placed = self.locate(torch.cat([everywhere, boxes], 1))
        return (self.project(torch.cat([whole, features], 1)) + placed).flatten(1, 2)  # type: ignore[no-any-return]  # torch types a module's call as Any

    def features(self, keypoints: Tensor) -> Tensor:
        """[B, frames, P, C·68] of all points together, each channel's next to each other."""
        batch, steps, persons, points, _ = keypoints.shape
        found = (keypoints[..., 2:] > 0).to(keypoints.dtype)
        middle, side = own_frames(keypoints) if self.by_person else (0.5, 1.0)
        centred = torch.cat([(keypoints[..., :2] - middle) / side * found, keypoints[..., 2:]], -1)
        rows = centred.permute(0, 2, 3, 4, 1).reshape(batch * persons, points * 3, steps, 1)
        rows = rows.to(self.project.weight.dtype)  # not before, as 8 bits tell little of how someone stands
        nodes = self.input_norm(rows).view(batch * persons, points, 3, steps).permute(0, 2, 3, 1)
        seen = self.graphs(nodes).transpose(1, 2)  # [B·P, T', C, 68]
        shared = _shared(seen, self.frames).view(batch, persons, self.frames, -1)
        return shared.transpose(1, 2)


class GraphConvolution(Float32Buffers):
    """Each point hears of itself and of its neighbours, those nearer to the centre told apart from the others; then
    each of itself at the steps around (ST-GCN, section 3.3, spatial configuration).

    Attributes:
        graph: [3, 68, 68], see `adjacency`.
        importance: [3, 68, 68] learned factors of it.
    """

    graph: Tensor

    def __init__(self, channels: int, width: int, stride: int, norm: Norm, residual: bool) -> None:
        super().__init__()
        make = norm_layer(norm)
        self.register_buffer("graph", torch.empty(3, POINTS, POINTS), persistent=False)
        self.importance = nn.Parameter(torch.empty(3, POINTS, POINTS))
        self.space = nn.Conv2d(channels, 3 * width, 1)
        over_time = nn.Conv2d(width, width, (_STEPS, 1), (stride, 1), (_STEPS // 2, 0))
        self.time = nn.Sequential(make(width), nn.ReLU(), over_time, make(width))
        self.residual = residual
        changed = residual and (stride > 1 or channels != width)
        self.shortcut: nn.Module = nn.Identity()
        if changed:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, (stride, 1)), make(width))

    def reset_parameters(self) -> None:
        """The constant graph (it is not part of a checkpoint), all of whose edges count alike."""
        self.graph.copy_(torch.from_numpy(adjacency(BONES, POINTS, _CENTRE)))
        nn.init.ones_(self.importance)

    def forward(self, nodes: Tensor) -> Tensor:
        """[N, C, T, 68] → [N, D, T / stride, 68]"""
        edges = self.graph.to(self.importance.dtype) * self.importance
        heard = torch.einsum("nkctv,kvw->nctw", self.space(nodes).unflatten(1, (3, -1)), edges)
        changed: Tensor = self.time(heard)
        return (changed + self.shortcut(nodes) if self.residual else changed).relu()


def adjacency(bones: Sequence[tuple[int, int]], points: int, centre: int) -> npt.NDArray[np.float32]:
    """Which point hears of which, float32 [3, from, to]: of itself, of neighbours as far from the centre or farther, of
    nearer ones. What a point hears of all adds up to 1."""
    joined = np.eye(points, dtype=bool)
    for one, other in bones:
        joined[one, other] = joined[other, one] = True
    distance = np.full(points, points)
    reached, steps = np.arange(points) == centre, 0
    while (distance[reached] == points).any():
        distance[reached & (distance == points)] = steps
        reached, steps = joined[reached].any(0), steps + 1
    shares = joined / joined.sum(0)
    itself, nearer = np.eye(points, dtype=bool), distance[:, None] < distance[None]
    return np.stack([shares * kind for kind in (itself, ~itself & ~nearer, nearer)]).astype(np.float32)


def own_frames(keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Of keypoints [B, T, P, 68, 3] the middle [B, 1, P, 1, 2] of the box around each person's points at all steps, and
    its longer side [B, 1, P, 1, 1]; 1 where there are none."""
    places, lacking = keypoints[..., :2], keypoints[..., 2:] <= 0
    least = places.masked_fill(lacking, torch.inf).amin((1, 3), keepdim=True)
    most = places.masked_fill(lacking, -torch.inf).amax((1, 3), keepdim=True)
    nobody = lacking.all(3, keepdim=True).all(1, keepdim=True)
    side = (most - least).amax(-1, keepdim=True).masked_fill(nobody, 1).clamp(min=_LEAST_SIDE)
    return ((least + most) / 2).masked_fill(nobody, 0.5), side


def boxes_of(keypoints: Tensor) -> Tensor:
    """Of keypoints [..., 68, 3] left, top, right, bottom and area of those that were found, [..., 5]; zeros of none."""
    places, found = keypoints[..., :2], keypoints[..., 2:] > 0
    least = places.masked_fill(~found, torch.inf).amin(-2)
    most = places.masked_fill(~found, -torch.inf).amax(-2)
    boxes = torch.cat([least, most, (most - least).prod(-1, keepdim=True)], -1)
    return boxes.masked_fill(~found.any(-2), 0)


def _shared(steps: Tensor, frames: int) -> Tensor:
    """[B, T, …] → [B, frames, …]: means over as many parts of the steps."""
    return torch.stack([part.mean(1) for part in steps.tensor_split(frames, 1)], 1)
