"""What the large variants are made of, trained by the engine."""

import pytest

from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.loop import train
from tiny_training import curve

OPTIONS = (
    "model.visual_embedder={kind: vit, patch: 8, width: 16, feed_forward: 32, layers: 2, heads: 2, drop_path: 0.2}",
    "model.registers=2",
    "model.query_key_norm=true",
    "model.layer_scale=0.1",
    "model.drop_path=0.2",
    "train.steps=4",
)


def test_zero_3_with_recomputation_gives_the_losses_of_zero_1_without(command, group, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    losses = []
    for engine in (["train.zero_stage=1"], ["train.zero_stage=3", "train.activation_checkpointing=full"]):
        run = tmp_path / str(len(losses))
        settings = load_settings(str(command.config), ExperimentSettings, [*OPTIONS, *engine]).settings
        train(settings, str(run), group, lambda record: None)
        losses.append([row[1] for row in curve(run)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
