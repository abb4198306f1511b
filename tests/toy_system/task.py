"""Whether a sound belongs to a frame and its keypoints, and what a slower copy of the model makes of these."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, EmbedOnce, Encoded, Inputs, rows_of
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.contract import Follow, Metadata, Purpose
from pipeline.tasks.task import Targets, Task
from toy_system.model import KEYPOINTS
from toy_system.settings import BelongSettings


class BelongTogether(Task):
    """Each sample is given its own sound, or that of another of its group.

    Its targets are `sound` [B], the index in the batch of each sample's sound, and `own` [B], whether it is its own.
    """

    settings: BelongSettings
    scores = True

    def __init__(self, settings: BelongSettings, model: AudioVisualModel) -> None:
        super().__init__()
        self.settings = settings
        self.teacher = copy.deepcopy(model)
        self.compare = nn.Linear(model.widths[VISUAL], model.widths[AUDIO])
        self.guess = nn.Linear(model.widths[KEYPOINTS], model.widths[KEYPOINTS])

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        group = self.settings.group
        places = {position: index for index, position in enumerate(positions)}
        sounds = []
        for index, position in enumerate(positions):
            first = position // group * group
            others = [places[other] for other in range(first, first + group) if other != position and other in places]
            draws = keyed_generator(seed, f"belong-{purpose}", position)
            sounds.append(index if draws.random() < 0.5 or not others else others[draws.integers(len(others))])
        return {"sound": torch.tensor(sounds), "own": torch.tensor(sounds) == torch.arange(len(sounds))}

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        encoded = model.fuse(rows_of(model.embed(inputs), {AUDIO: targets["sound"]}))
        scores, own = self.score(encoded).float(), targets["own"]
        with torch.no_grad():
            taught = self.teacher.fuse(self.teacher.embed(inputs)).tokens[KEYPOINTS].float()
        distance = F.mse_loss(self.guess(encoded.tokens[KEYPOINTS]).float(), taught)
        loss = F.binary_cross_entropy_with_logits(scores, own.float()) + distance
        samples = torch.full_like(loss, len(own), dtype=torch.float64)
        told = ((scores > 0) == own).sum()
        return loss, torch.stack([loss.detach() * samples, samples, told.double(), distance.detach() * samples])

    def score(self, encoded: Encoded) -> Tensor:
        seen, heard = encoded.tokens[VISUAL].mean(1), encoded.tokens[AUDIO].mean(1)
        return (self.compare(seen) * heard).sum(1)

    def teachers(self, model: AudioVisualModel) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.teacher, model)]

    def after_step(self, model: AudioVisualModel, step: int, follow: Follow) -> None:
        follow(self.teacher, model, self.settings.pace)
