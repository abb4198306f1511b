"""Self-distillation without labels (DINO, Caron et al. 2021, arXiv 2104.14294), with views of frames and sounds."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.features.float32 import Float32Buffers
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, EmbedOnce, Images, Inputs
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.contract import Follow, Metadata, Purpose
from pipeline.tasks.hidden_cells import hidden_of, tokens_at, without_hidden
from pipeline.tasks.self_distillation_settings import GLOBAL_VIEWS, SelfDistillationSettings
from pipeline.tasks.task import Targets, Task
from pipeline.tasks.views import DRAWS, block_view, crop_view

_BOTH = (VISUAL, AUDIO)


class SelfDistillation(Task):
    """The teacher sees two large views of a sample, the student these and several small ones; of each pair of views
    that are not the same, the student's distribution over prototypes is to be the teacher's: the loss is their cross
    entropy (Eq. 3 of DINO). What they say is a head's answer to the class token, which has seen what a view has of both
    streams.

    A large view is a crop that is resized to the size of the whole: a rectangle of the frame, a stretch of the sound.
    A small one is a block of the tokens of another such crop; around it the embedders see zeros, so that tokens of
    convolutions know nothing of what lies there. Learned positions are of one size, and a block keeps its places.

    Its target is `draws` [B, views, 12]: what is drawn for each view (`pipeline.tasks.views.DRAWS`).

    Attributes:
        teacher, teacher_head: averages of the model and of the head.
    """

    settings: SelfDistillationSettings

    def __init__(self, settings: SelfDistillationSettings, model: AudioVisualModel) -> None:
        super().__init__()
        self.settings = settings
        self.grids = {name: model.grids[name] for name in _BOTH}
        self.head = ProjectionHead(settings, model.widths["class"])
        self.teacher, self.teacher_head = copy.deepcopy(model), copy.deepcopy(self.head)
        self.answers = RecentAnswers(settings.prototypes)
        self._temperature = settings.teacher_temperature

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        shape = (GLOBAL_VIEWS + self.settings.local_views, len(DRAWS))
        drawn = [
            keyed_generator(seed, f"views-{purpose}", position).random(shape, np.float32) for position in positions
        ]
        return {"draws": torch.from_numpy(np.stack(drawn))}

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        settings, images, draws = self.settings, model.images(inputs), targets["draws"]
        crops = [crop_view(images, draws[:, view], settings) for view in range(GLOBAL_VIEWS)]
        large = {name: torch.cat([crop[name] for crop in crops]) for name in _BOTH}
        said = [self.head(model.fuse(model.embed_images(large)).tokens["class"][:, 0])]
        with torch.no_grad():
            taught = self.teacher.fuse(self.teacher.embed_images(large)).tokens["class"][:, 0]
            logits = self.teacher_head(taught).float()
            answer = ((logits - self.answers.centre) / self._temperature).softmax(1)
            mean_entropy = _entropy(self.answers.shares)
        said += [self._of_blocks(model, images, draws[:, views], streams) for views, streams in self._small()]
        views = [
            (one.float() / settings.student_temperature).log_softmax(1).unflatten(0, (-1, len(draws))) for one in said
        ]
        student, teacher = torch.cat(views), answer.unflatten(0, (GLOBAL_VIEWS, -1))  # [views, B, prototypes]
        crossed = -torch.einsum("tbk,sbk->ts", teacher, student) / len(draws)
        same = torch.eye(*crossed.shape, dtype=torch.bool, device=crossed.device)
        loss = crossed.masked_fill(same, 0).sum() / (crossed.numel() - GLOBAL_VIEWS)
        if self.training:
            self.answers.add(logits, answer)
        agreed = (teacher.argmax(2) == student[:GLOBAL_VIEWS].flip(0).argmax(2)).double().mean()
        sums = torch.stack(
            [loss.detach().double(), torch.ones_like(agreed), _entropy(answer).mean(), mean_entropy, agreed]
        )
        return loss, sums * len(draws)

    def begin_step(self, step: int) -> None:
        self._temperature = self.settings.teacher_temperature_at(step)
        self.head.prototypes.frozen = step < self.settings.frozen_steps
        self.answers.begin_step()

    def after_step(self, model: AudioVisualModel, step: int, follow: Follow) -> None:
        rate = 1 - self.settings.momentum_at(step)
        follow(self.teacher, model, rate)
        follow(self.teacher_head, self.head, rate)
        self.answers.end_step(self.settings.centre_momentum)

    def teachers(self, model: AudioVisualModel) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.teacher, model), (self.teacher_head, self.head)]

    def _small(self) -> list[tuple[slice, tuple[str, ...]]]:
        """The small views that are alike, and the streams that they have."""
        first, last = GLOBAL_VIEWS, GLOBAL_VIEWS + self.settings.local_views
        middle = last if self.settings.local_streams == "both" else (first + last) // 2
        alike: list[tuple[slice, tuple[str, ...]]] = [(slice(middle, last), (AUDIO,))]
        alike.append((slice(first, middle), _BOTH if middle == last else (VISUAL,)))
        return [(views, streams) for views, streams in alike if views.start < views.stop]

    def _of_blocks(
        self, model: AudioVisualModel | EmbedOnce, images: Images, draws: Tensor, streams: tuple[str, ...]
    ) -> Tensor:
        """What the student says of small views with these streams, by their draws [B, V, 12]: [V · B, prototypes]."""
        views = draws.unbind(1)
        images = {name: images[name] for name in streams}
        crops = [crop_view(images, view, self.settings) for view in views]
        shown, places = {}, {}
        for name in streams:
            grid, share = self.grids[name], self.settings.local_share
            places[name] = torch.cat([block_view(name, grid, view, share) for view in views])
            whole = torch.cat([crop[name] for crop in crops])
            shown[name] = without_hidden(whole, hidden_of(places[name], grid.count), grid)
        placed = model.place(model.embed_images(shown))
        placed |= {name: tokens_at(placed[name], places[name]) for name in streams}
        answer: Tensor = self.head(model.encode(placed).tokens["class"][:, 0])
        return answer


class ProjectionHead(nn.Module):
    """Three layers, then cosine likeness with the prototypes (DINO, section 3.1 and appendix C)."""

    def __init__(self, settings: SelfDistillationSettings, width: int) -> None:
        super().__init__()
        hidden, bottleneck = settings.hidden, settings.bottleneck
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.prototypes = Prototypes(bottleneck, settings.prototypes, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, D] → [B, prototypes]."""
        answer: Tensor = self.prototypes(F.normalize(self.layers(tokens), dim=1))
        return answer


class Prototypes(nn.Linear):
    """A linear layer whose rows have length 1 whatever their weights (weight norm with its factor fixed).

    Attributes:
        frozen: no gradient reaches the weights. Weight decay shortens them then, which changes nothing.
    """

    frozen = False

    def forward(self, input: Tensor) -> Tensor:
        rows = F.normalize(self.weight, dim=1)
        return F.linear(input, rows.detach() if self.frozen else rows)


class RecentAnswers(Float32Buffers):
    """Running means of what the teacher says, over the samples of all processes.

    Attributes:
        centre: [K] of its outputs, which is taken away from them so that none outweighs the others (Eq. 4 of DINO).
        shares: [K] of its distributions over the prototypes.
    """

    centre: Tensor
    shares: Tensor
    sums: Tensor

    def __init__(self, prototypes: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.empty(prototypes))
        self.register_buffer("shares", torch.empty(prototypes))
        self.register_buffer("sums", torch.empty(2, prototypes), persistent=False)  # of both, in this step
        self._count = 0

    def reset_parameters(self) -> None:
        """Nothing has been said yet."""
        self.centre.zero_()
        self.shares.fill_(1 / len(self.shares))
        self.begin_step()

    def begin_step(self) -> None:
        """Forget what was counted: a step that was left out has not ended."""
        self.sums.zero_()
        self._count = 0

    def add(self, outputs: Tensor, distributions: Tensor) -> None:
        """Count those of a micro-batch [N, K]."""
        self.sums += torch.stack([outputs.sum(0), distributions.sum(0)])
        self._count += len(outputs)

    def end_step(self, kept: float) -> None:
        """Move the means towards those of the step's samples, of which all processes have as many; every process must
        call it."""
        if not self._count:
            return
        world = dist.get_world_size() if dist.is_initialized() else 1
        if world > 1:
            dist.all_reduce(self.sums)
        for mean, own in zip((self.centre, self.shares), self.sums / (self._count * world), strict=True):
            mean.lerp_(own, 1 - kept)


def _entropy(distribution: Tensor) -> Tensor:
    """Of [..., K], in nats."""
    entropy: Tensor = torch.special.entr(distribution).sum(-1)
    return entropy.double()
