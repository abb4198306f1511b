"""Multi-modal alignment on held-out pairs, and how well anybody could do on them."""

from collections import Counter
from collections.abc import Callable
from typing import TypedDict

import torch

from pipeline.evaluate.readouts.attention import noise_like
from pipeline.evaluate.samples import EvaluationSamples
from pipeline.stream.order import Order
from pipeline.stream.settings import DataSettings
from pipeline.tasks.ceiling import CeilingCounts, Pair
from pipeline.tasks.mma_settings import MmaSettings
from pipeline.tasks.pairing import draw_partners
from pipeline.tasks.task import System


class MmaResult(TypedDict):
    """`accuracy` and `ceiling` in 0–1, null where they can't be known; `pairs` is how many were shown. `silence` and
    `noise` are the shares of frames that the model calls a match with silence, and with noise as loud as their own
    sound: the priors of Eq. 7 rest on both being none. `not_finite` counts answers that are no number, all wrong.
    """

    accuracy: float | None
    ceiling: float | None
    pairs: int
    silence: float | None
    noise: float | None
    not_finite: int


def evaluate_alignment(
    system: System,
    samples: EvaluationSamples,
    task: MmaSettings,
    data: DataSettings,
    seed: int,
    batch_size: int,
    advance: Callable[[int], None],
) -> MmaResult:
    """Accuracy over a balanced set of pairs: each sound twice, with its own frame and with one that training's rule for
    negatives gives it. Sounds without an allowed partner in their group are left out.

    Samples come in a shuffled order as in training, because neighbours in a shard may show the same image.

    Args:
        advance: told how many samples were seen.
    """
    order = Order(samples.shards.samples_per_shard(), seed, data.block_samples, data.lanes)
    places = [place for place in order.samples_at(0, range(len(order))).tolist() if place < len(samples)]
    pairs: list[Pair] = []
    answers = _Answers()
    at_once = max(batch_size // task.group, 1) * task.group
    for start in range(0, len(places), at_once):
        batch = samples.read(places[start : start + at_once], judged=False)
        partners = draw_partners(task, seed, range(start, start + len(batch.keys)), batch.metadata, purpose="evaluate")
        mismatched = {sound: frame for sound, frame in enumerate(partners) if frame is not None}
        sounds = list(mismatched)
        if sounds:
            others = batch.select(list(mismatched.values()))
            heard = batch.select(sounds)
            answers.count("matched", _logit(system, heard.frames, heard.waveform))
            answers.count("mismatched", _logit(system, others.frames, heard.waveform))
            for sound, frame in mismatched.items():
                pairs.append(Pair(batch.metadata[sound], batch.metadata[sound], True))
                pairs.append(Pair(batch.metadata[frame], batch.metadata[sound], False))
        answers.count("silence", _logit(system, batch.frames, torch.zeros_like(batch.waveform)))
        answers.count("noise", _logit(system, batch.frames, noise_like(batch.waveform, seed)))
        advance(len(batch.keys))
    right = answers.match["matched"] + answers.no_match["mismatched"]
    return MmaResult(
        accuracy=right / len(pairs) if pairs else None,
        ceiling=CeilingCounts.of(pairs).ceiling(),
        pairs=len(pairs),
        silence=answers.match["silence"] / len(places) if places else None,
        noise=answers.match["noise"] / len(places) if places else None,
        not_finite=answers.not_finite,
    )


class _Answers:
    """How often the model said match or no match to each kind of pair."""

    def __init__(self) -> None:
        self.match: Counter[str] = Counter()
        self.no_match: Counter[str] = Counter()
        self.not_finite = 0

    def count(self, kind: str, logits: torch.Tensor) -> None:
        finite = logits.isfinite()
        self.match[kind] += int((finite & (logits > 0)).sum())
        self.no_match[kind] += int((finite & (logits <= 0)).sum())
        self.not_finite += int((~finite).sum())


@torch.no_grad()
def _logit(system: System, frames: torch.Tensor, waveform: torch.Tensor) -> torch.Tensor:
    model = system.model
    return system.task.score(model.fuse(model.embed({"frames": frames, "sound": waveform})))
