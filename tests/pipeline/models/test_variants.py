import re
from pathlib import Path

import pytest
import torch

from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.engine.deepspeed_settings import micro_batch_of
from pipeline.train.system import build_system

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize(
    ("version", "billions"), [("small", 0.05), ("base", 0.1), ("large", 0.4), ("huge", 1.0), ("giant", 2.0)]
)
def test_the_large_variants_have_the_size_that_they_state(version, billions):
    settings = load_settings(CONFIGS / f"experiments/gavt_{version}.yaml", ExperimentSettings).settings
    with torch.device("meta"):
        system = build_system(settings)
        frames = torch.empty(2, settings.features.frames, 3, settings.features.frame_size, settings.features.frame_size)
        visual = system.model.embed({"frames": frames})["visual"]
    parameters = sum(parameter.numel() for parameter in system.parameters())
    assert parameters / 1e9 == pytest.approx(billions, rel=0.1)
    stated = re.search(r"(\d+) million parameters, (\d+) tokens", (CONFIGS / f"models/gavt_{version}.yaml").read_text())
    assert [round(parameters / 1e6), system.model.layout.count] == [int(number) for number in stated.groups()]
    assert visual.shape == (2, system.model.grids["visual"].count, settings.model.width)
    for gpus in (1, 8):
        assert micro_batch_of(settings.train, gpus, settings.task) == settings.train.micro_batch
