"""Does anything visible sound? Own sounds against silence, noise and sounds from off-screen (Eq. 7 of the G-AVT thesis
takes the first two for no match; here that is trained)."""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, EmbedOnce, Encoded, Inputs, Tokens
from pipeline.stream.randomness import keyed_generator
from pipeline.tasks.contract import Metadata, Purpose
from pipeline.tasks.off_screen_settings import OffScreenSettings
from pipeline.tasks.pairing import others_in_groups
from pipeline.tasks.similarity_volume import log_mean_exp
from pipeline.tasks.task import Targets, Task

_HISS_DB = (-80.0, -50.0)
_LOUDER = (-1.0, 1.0)
"""How often noise is twice as loud as the own sound."""
_SLOPES = (0.0, -0.5, -1.0)
"""Of the noises' spectra, as powers of the frequency: white, pink, brown."""
_SCALE, _BIAS = 10.0, -4.0
"""What likeness is multiplied by, and what is added, at the start."""


class OffScreen(Task):
    """The confidence that something visible sounds, as a logit.

    Its targets, drawn for each sample by its position:

        other    [B] index in the batch of the sample whose sound comes from off-screen
        counted  [B] False where there is no such sample
        hiss     [B] root mean square of its silence, 0 for none at all
        noise    [B] which of the noises
        begin    [B] where in it, 0–1
        loudness [B] how loud the noise is beside the own sound
    """

    settings: OffScreenSettings

    def __init__(self, settings: OffScreenSettings, model: AudioVisualModel) -> None:
        super().__init__()
        self.settings = settings
        if settings.compare == "class":
            self.head = nn.Linear(model.widths["class"], 1)
        else:
            self.seen = nn.Linear(model.widths[VISUAL], settings.width)
            self.heard = nn.Linear(model.widths[AUDIO], settings.width)
            self.sure = _Sure()

    @property
    def scores(self) -> bool:  # type: ignore[override]  # it hangs on the settings
        """Whether it answers after frame and sound have met."""
        return self.settings.compare == "class"

    @property
    def matches(self) -> bool:
        """It always answers."""
        return True

    def targets(self, seed: int, positions: Sequence[int], metadata: Metadata, purpose: Purpose) -> Targets:
        others, counted, draws = [], [], []
        in_groups = others_in_groups(self.settings.group, positions, metadata)
        for index, (position, near) in enumerate(zip(positions, in_groups, strict=True)):
            generator = keyed_generator(seed, f"{purpose}-off-screen", position)
            draw = int(generator.integers(max(1, len(near))))
            others.append(near[draw] if near else index)
            counted.append(bool(near))
            hiss = 0.0 if generator.random() < 0.5 else 10 ** (generator.uniform(*_HISS_DB) / 20)
            loudness = 2 ** generator.uniform(*_LOUDER)
            draws.append((hiss, generator.integers(len(_SLOPES)), generator.random(), loudness))
        hisses, noises, begins, loudnesses = zip(*draws, strict=True)
        return {
            "other": torch.tensor(others),
            "counted": torch.tensor(counted),
            "hiss": torch.tensor(hisses, dtype=torch.float32),
            "noise": torch.tensor([int(noise) for noise in noises]),
            "begin": torch.tensor(begins, dtype=torch.float32),
            "loudness": torch.tensor(loudnesses, dtype=torch.float32),
        }

    def further(self, inputs: Inputs, targets: Targets) -> dict[str, Inputs]:
        """Silence and noise, for one of `one_of` samples."""
        some = slice(None, None, self.settings.one_of)
        own, drawn = inputs["sound"][some], {name: target[some] for name, target in targets.items()}
        made = (one for one in self.settings.absences if one != "other")
        return {one: {"sound": absent_sound(one, own, drawn)} for one in made}

    def forward(self, model: AudioVisualModel | EmbedOnce, inputs: Inputs, targets: Targets) -> tuple[Tensor, Tensor]:
        """Half the mean cross entropy of own sounds, and half the mean over absences of that of each, so that both
        answers are as frequent. What is left out counts as nothing, so that a step is the same however it is cut."""
        once, some = self.embed_once(model, inputs, targets), slice(None, None, self.settings.one_of)
        embedded = once.embed(inputs)
        own = self.confidence(once, embedded).float()
        losses, counts = [F.softplus(-own).mean()], [(own > 0).sum()]
        for absence in self.settings.absences:
            if absence == "other":
                heard, counted = embedded | {AUDIO: embedded[AUDIO][targets["other"]]}, targets["counted"]
            else:
                seen = {name: tokens[some] for name, tokens in embedded.items()}
                heard = seen | {AUDIO: once.embed(once.further[absence])[AUDIO]}
                counted = torch.ones_like(targets["counted"][some])
            logits = self.confidence(once, heard).float()
            losses.append((F.softplus(logits) * counted).mean())
            counts += [((logits <= 0) & counted).sum(), counted.sum()]
        loss = (losses[0] + torch.stack(losses[1:]).mean()) / 2
        samples = torch.full_like(loss, len(own), dtype=torch.float64)
        return loss, torch.cat([torch.stack([loss.detach() * samples, samples]), torch.stack(counts).double()])

    def confidence(self, model: AudioVisualModel | EmbedOnce, embedded: Tokens) -> Tensor:
        """[B] logit that something visible sounds."""
        if self.settings.compare == "class":
            return self.score(model.fuse(embedded))
        seen = F.normalize(self.seen(embedded[VISUAL]).float(), dim=2)
        heard = F.normalize(self.heard(embedded[AUDIO]).float(), dim=2)
        alike = torch.einsum("bnd,bmd->bmn", seen, heard)
        likest = log_mean_exp(alike, self.settings.sharpness)
        return self.sure(likest.mean(1))  # type: ignore[no-any-return]  # torch types a module's call as Any

    def match(self, model: AudioVisualModel, embedded: Tokens) -> Tensor:
        return self.confidence(model, embedded)

    def score(self, encoded: Encoded) -> Tensor:
        if self.settings.compare != "class":
            raise NotImplementedError("off_screen with compare = places answers before frame and sound meet")
        return self.head(encoded.tokens["class"][:, 0])[:, 0]  # type: ignore[no-any-return]  # as above


class _Sure(nn.Module):
    """Likeness [B] in −1..1 as a logit: multiplied and shifted, both learned."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(1))
        self.bias = nn.Parameter(torch.empty(1))

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, _SCALE)
        nn.init.constant_(self.bias, _BIAS)

    def forward(self, alike: Tensor) -> Tensor:
        return alike * self.scale + self.bias


def absent_sound(absence: str, own: Tensor, targets: Targets) -> Tensor:
    """Silence or noise [B, C, S] in the place of sounds [B, C, S]; all channels hear the same."""
    samples = own.shape[2]
    noises = own.new_empty(len(_SLOPES), samples) if own.is_meta else _noises(samples, own.device)
    begin = (targets["begin"] * samples).long()
    places = (torch.arange(samples, device=own.device) + begin[:, None]) % samples
    if absence == "silence":
        return (noises[0][places] * targets["hiss"][:, None])[:, None].expand_as(own)
    loud = own.square().mean(dim=(1, 2)).sqrt() * targets["loudness"]
    return (noises[targets["noise"][:, None], places] * loud[:, None])[:, None].expand_as(own)


@lru_cache(maxsize=4)
def _noises(samples: int, device: torch.device) -> Tensor:
    """[3, S] white, pink and brown noise of root mean square 1, the same always; each goes on from its end to its
    beginning."""
    white = torch.randn(samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectrum = torch.fft.rfft(white)
    frequencies = torch.arange(len(spectrum), dtype=torch.float64).clamp(min=1)
    made = torch.stack([torch.fft.irfft(spectrum * frequencies**slope, samples) for slope in _SLOPES])
    made = made - made.mean(1, keepdim=True)
    return (made / made.square().mean(1, keepdim=True).sqrt()).float().to(device)
