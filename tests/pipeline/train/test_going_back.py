"""Going back to a checkpoint while a run goes on takes no memory of its own."""

import gc

import pytest
import torch

from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.checkpoints import find_checkpoint
from pipeline.train.loop import train
from pipeline.train.training_state import TrainingState


def bytes_of_tensors() -> int:
    """Of all that is alive in this process."""
    gc.collect()
    storages = {one.untyped_storage() for one in gc.get_objects() if issubclass(type(one), torch.Tensor)}
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@pytest.mark.parametrize(("stage", "precision"), [(3, "bf16"), (1, "fp32")])
def test_the_states_are_those_of_the_checkpoint_and_memory_does_not_grow(
    command, group, tmp_path, monkeypatch, stage, precision
):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    words = [f"train.zero_stage={stage}", f"train.precision={precision}", "train.ema_decay=0.9", "train.steps=2"]
    settings = load_settings(str(command.config), ExperimentSettings, words).settings
    train(settings, str(tmp_path / "run"), group, lambda record: None)
    checkpoint = find_checkpoint(str(tmp_path / "run"))

    state = TrainingState(settings, 16, group, checkpoint)
    assert state.ema is not None
    saved = {name: weight.clone() for name, weight in state.engine.full_weights().items()}
    average = [one.clone() for one in state.ema.average]
    held = []
    for _ in range(3):
        with torch.no_grad(), state.engine.changing():
            for tensor in (*state.engine.masters(), *state.ema.average):
                tensor.mul_(2)
        assert not all(torch.equal(weight, saved[name]) for name, weight in state.engine.full_weights().items())
        state.go_back(checkpoint)
        held.append(bytes_of_tensors())
    assert all(torch.equal(weight, saved[name]) for name, weight in state.engine.full_weights().items())
    assert all(map(torch.equal, state.ema.average, average))
    assert held[0] == held[1] == held[2]
    state.engine.destroy()
