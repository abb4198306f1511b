import re
from pathlib import Path

import pytest
import torch

from pipeline.experiment import ExperimentSettings
from pipeline.models.gavt import Gavt
from pipeline.settings.load import load_settings
from pipeline.tasks.mma import TaskModel
from pipeline.train.engine.engine import micro_batch_of

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize(
    ("version", "billions"), [("small", 0.05), ("base", 0.1), ("large", 0.4), ("huge", 1.0), ("giant", 2.0)]
)
def test_the_large_variants_have_the_size_that_they_state(version, billions):
    settings = load_settings(CONFIGS / f"experiments/gavt_{version}.yaml", ExperimentSettings).settings
    with torch.device("meta"):
        model = TaskModel(Gavt(settings.model, settings.features))
        frames = torch.empty(2, settings.features.frames, 3, settings.features.frame_size, settings.features.frame_size)
        visual = model.model.embed_frames(frames)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters / 1e9 == pytest.approx(billions, rel=0.1)
    stated = re.search(r"(\d+) million parameters, (\d+) tokens", (CONFIGS / f"models/gavt_{version}.yaml").read_text())
    assert [round(parameters / 1e6), model.model.tokens.count] == [int(number) for number in stated.groups()]
    layout = model.model.tokens
    assert visual.shape == (2, layout.visual.stop - layout.visual.start, settings.model.width)
    for gpus in (1, 8):
        assert micro_batch_of(settings.train, gpus, settings.task.group) == settings.train.micro_batch
