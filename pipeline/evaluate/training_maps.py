"""Maps while a model trains: how well they point, and a few to look at.

RUN/maps/step-0000001200.png    frames of a few validation samples from all over the set, always the same, with maps
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cluster.process_group import ProcessGroup
from pipeline.evaluate.map_grid import draw_grid
from pipeline.evaluate.metrics.resize import Centres, Map, resize_seen
from pipeline.evaluate.metrics.scores import SampleScore, average, score_map
from pipeline.evaluate.readouts.build import build_readout, default_readout, one_pass_readout, placements
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.samples import EvaluationBatch, EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings, Placement
from pipeline.features.inputs import FRAMES
from pipeline.tasks.task import System
from pipeline.train.load import untrained
from pipeline.train.metric_names import MAP_FIGURES, MAP_METRICS, MAP_SAMPLES, MAPS, VALIDATION
from pipeline.train.records.metrics_log import Record
from pipeline.train.run_settings import RunSettings

_SHOWN = 8


class TrainingMaps:
    """Judges and draws the maps of a run, on the main process, whatever the number of processes. That one builds the
    model once more for it, in float32, and needs the memory for that."""

    def __init__(self, settings: RunSettings, evaluate: EvaluateSettings, run: Path, group: ProcessGroup) -> None:
        self._settings, self._evaluate, self._run, self._device = settings, evaluate, run, group.device
        self._shown: EvaluationBatch | None = None
        self._located: list[EvaluationBatch] = []
        self._placement: dict[str, Placement] = {}

    def can_judge(self) -> bool:
        """Read what maps are judged on: those of the first `train.maps_judged_samples` validation samples, in the
        shuffled order of an evaluation, that have boxes. It can't be done where there are none, and of a model that has
        no maps of one forward pass.

        Raises:
            ShardSetError: one of them can't be decoded.
        """
        if FRAMES not in self._settings.fields or one_pass_readout(self._evaluate, self._untrained()) is None:
            return False
        samples = self._samples(torch.device("cpu"))
        chunk = samples.read(range(min(self._settings.train.maps_judged_samples, len(samples))))
        located = chunk.judged.select(chunk.located)
        self._located = [located.select(piece) for piece in located.pieces(self._evaluate.batch_size)]
        return bool(self._located)

    def judge(self, weights: dict[str, Tensor], step: int) -> Record:
        """Figures of a model with these weights, as of the table of localisation: of the readout that takes one forward
        pass, its values where they fit the boxes better (`evaluate.placement`)."""
        system = self._with(weights)
        name = one_pass_readout(self._evaluate, system)
        assert name is not None  # else there is a reason against it
        readout = build_readout(name, self._evaluate)
        may = placements(readout, system, self._evaluate)
        scores: dict[Placement, list[SampleScore]] = {placement: [] for placement in may}
        for batch in self._located:
            maps = self._maps(readout, system, batch)
            for placement, centres in may.items():
                scores[placement] += self._scores(batch, maps, centres)
        self._placement[name] = max(scores, key=lambda placement: _overlap(scores[placement]))
        found = scores[self._placement[name]]
        figures = dict(average(found, [one.group for batch in self._located for one in batch.metadata]))
        record = {VALIDATION + metric.name: figures[metric.name.removeprefix(MAP_FIGURES)] for metric in MAP_METRICS}
        return {"step": step, **record, VALIDATION + MAP_SAMPLES: len(found)}

    def draw(self, weights: dict[str, Tensor], step: int) -> Record:
        """Draw the maps of a model with these weights, by the readout that `gavt localize` takes by default."""
        if self._shown is None:
            samples = self._samples(self._device)
            self._shown = samples.read(range(min(_SHOWN, len(samples)))).shown  # they lie in a shuffled order
        system = self._with(weights)
        readout = build_readout(default_readout(self._evaluate, system), self._evaluate)
        may = placements(readout, system, self._evaluate)
        centres = may[self._placement.get(readout.name, next(iter(may)))]
        file = self._run / "maps" / f"step-{step:010d}.png"
        file.parent.mkdir(exist_ok=True)
        draw_grid(self._shown, self._maps(readout, system, self._shown), centres).save(file, optimize=True)
        return {"step": step, MAPS: str(file.relative_to(self._run))}

    def _samples(self, device: torch.device) -> EvaluationSamples:
        url = self._settings.data.validation
        assert url is not None  # else no maps are asked for
        whole = self._evaluate.model_copy(update={"max_samples": None})
        return EvaluationSamples.open(url, self._settings, whole, device)

    def _untrained(self) -> System:
        return untrained(self._settings, self._device, self._settings.seed)

    def _with(self, weights: dict[str, Tensor]) -> System:
        system = self._untrained()
        system.load_state_dict(weights)
        return system

    def _maps(self, readout: Readout, system: System, batch: EvaluationBatch) -> Map:
        inputs = {name: values.to(self._device) for name, values in batch.inputs.items()}
        made: Map = readout(system, inputs).detach().float().cpu().numpy()
        return made

    def _scores(self, batch: EvaluationBatch, maps: Map, centres: Centres | None) -> list[SampleScore]:
        corners = self._evaluate.align_corners
        judged = zip(maps, batch.squares, batch.truths, strict=True)
        return [
            score_map(resize_seen(heat, square, len(truth), corners, centres), truth)
            for heat, square, truth in judged
            if truth is not None
        ]


def _overlap(scores: Sequence[SampleScore]) -> float:
    return float(np.mean([score.ciou_adap for score in scores]))
