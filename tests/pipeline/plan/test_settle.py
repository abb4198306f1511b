"""What `auto` becomes: as little recomputed as fits, at as many samples at once as fit then."""

from pathlib import Path

import pytest
import yaml

from jobs.cli import main
from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.plan.machines import GIB, Machines
from pipeline.plan.plan import own_way
from pipeline.plan.settle import settle
from pipeline.settings.load import load_settings
from tiny_shards import FEATURES, MODEL

AUTO = ("train.batch_size=64", "train.micro_batch=auto", "train.activation_checkpointing=auto")


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({"features": FEATURES, "model": MODEL}))
    return str(file)


def with_room_for(bytes_: float) -> Machines:
    """A GPU on which so many bytes fit, with a tenth to spare."""
    return Machines(1, 1, (bytes_ * 1.001 / 0.9 + 1 * GIB) / 0.95)


def test_what_is_settled_fits_and_the_next_larger_would_not(config: str) -> None:
    settings = load_settings(config, ExperimentSettings, list(AUTO)).settings

    def needs(mode: str, size: int) -> float:
        words = [AUTO[0], f"train.micro_batch={size}", f"train.activation_checkpointing={mode}"]
        return own_way(load_settings(config, ExperimentSettings, words).settings, with_room_for(0)).memory.total

    def settled(room: float) -> tuple[object, object]:
        train = settle(settings, with_room_for(room)).train
        return train.activation_checkpointing, train.micro_batch

    assert settled(needs("none", 64)) == ("none", 64)
    assert settled(0.97 * needs("none", 64)) == ("none", 32)
    assert settled(needs("none", 8)) == ("none", 8)
    with pytest.raises(SettingsError, match=r"train.micro_batch: nothing fits into .* even 8 samples at once"):
        settle(settings, with_room_for(needs("full", 8) / 2))


def test_what_is_not_auto_stays(config: str) -> None:
    chosen = load_settings(config, ExperimentSettings, [*AUTO[:2], "train.activation_checkpointing=full"]).settings
    assert settle(chosen, with_room_for(GIB)).train.activation_checkpointing == "full"
    plain = load_settings(config, ExperimentSettings, ["train.micro_batch=8"]).settings
    assert settle(plain, with_room_for(0)) is plain


@pytest.mark.usefixtures("group")
def test_training_says_what_it_has_settled(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["train", config, "--dry-run", *AUTO])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert "settled: train.micro_batch=64 train.activation_checkpointing=none" in out
    assert "64 samples a process at once, 1 times a step" in out.replace("\n", " ")
