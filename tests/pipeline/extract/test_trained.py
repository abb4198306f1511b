"""Features of a model that gavt trained are its tokens, or their means, as evaluation sees them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.process_group import ProcessGroup
from moving_shards import PICTURES, SAMPLES, write_moving_set
from pipeline.errors import SettingsError
from pipeline.extract.extract import extract_features
from pipeline.extract.settings import ExtractSettings
from pipeline.features.frame_times import FrameTimes
from pipeline.models.pooling import pooled
from pipeline.shards.array_file import decode_array
from pipeline.shards.dataset import read_dataset
from pipeline.shards.shard_set import ShardSet
from pipeline.stream.decode import decode_sample
from pipeline.stream.fields.frames import FramesField
from pipeline.stream.fields.registry import fields_of
from pipeline.stream.fields.sound import SoundField
from pipeline.stream.settings import DataSettings
from pipeline.stream.sound_track import SoundFormat
from pipeline.train.load import load_trained
from tiny_run import tiny_experiment, write_run
from tiny_shards import RATE_HZ, write_shard_set

ALONE = ProcessGroup(0, 0, 1, torch.device("cpu"))


@torch.no_grad()
def test_tokens_and_their_means_are_those_of_the_model(tmp_path: Path) -> None:
    experiment = tiny_experiment()
    features = experiment.features.model_copy(update={"audio_rate_hz": RATE_HZ})
    write_run(tmp_path / "run", experiment.model_copy(update={"features": features}))
    source = write_shard_set(tmp_path / "source", 5, 5)
    trained = load_trained(str(tmp_path / "run"), "cpu")
    model = trained.system.model
    fields = fields_of(trained.settings.features, trained.system.inputs, augment=False)
    read = [decode_sample(ShardSet.open(str(source)).read(place), fields).arrays for place in range(5)]
    together = {one.name: torch.tensor(np.stack([arrays[one.name] for arrays in read])) for one in fields}
    inputs = {one.name: one.on_device(together[one.name], None) for one in fields}
    embedded = model.embed(inputs)
    expected = {
        "tokens": {f"fused.{name}": one for name, one in model.fuse(embedded).tokens.items()},
        "means": {name.replace("/", "."): one for name, one in pooled(model, inputs).items() if "encoded/" in name},
    }
    for out, settings in (("tokens", {}), ("means", {"means": True, "stage": "encoded"})):
        asked = {"models": [{"model": str(tmp_path / "run")}], "dtype": "float32", "batch": 5}
        chosen = ExtractSettings.model_validate(asked | settings)
        extract_features(str(source), str(tmp_path / out), chosen, DataSettings(workers=0), ALONE)
        last = ShardSet.open(str(tmp_path / out)).read(4)
        assert {*last.files} == {"json", *(f"{name}.npy" for name in expected[out])}
        for name, values in expected[out].items():
            stored = decode_array(last.files[f"{name}.npy"])
            assert np.array_equal(stored.reshape(values[4].shape), values[4].numpy())
    grid = model.grids["visual"].shape
    described = read_dataset(str(tmp_path / "tokens")).features
    assert described is not None
    assert described["members"]["fused.visual.npy"]["shape"] == [*grid, model.widths["visual"]]


@torch.no_grad()
def test_a_model_of_one_frame_looks_at_each_segment_and_hears_what_is_around_it(tmp_path: Path) -> None:
    experiment = tiny_experiment()
    features = experiment.features.model_copy(update={"audio_rate_hz": RATE_HZ})
    write_run(tmp_path / "run", experiment.model_copy(update={"features": features}))
    source = write_moving_set(tmp_path / "source", 2, 0)
    asked = {"models": [{"model": str(tmp_path / "run")}], "dtype": "float32", "by_part": True, "batch": 2}
    chosen = ExtractSettings.model_validate(asked | {"stage": "embedded"})
    extract_features(str(source), str(tmp_path / "out"), chosen, DataSettings(workers=0), ALONE)
    stored = ShardSet.open(str(tmp_path / "out")).read(1)
    seen, heard = (decode_array(stored.files[f"{name}.npy"]) for name in ("visual", "audio"))

    model = load_trained(str(tmp_path / "run"), "cpu").system.model
    sample = ShardSet.open(str(source)).read(1)
    pictures = FramesField("frames", FrameTimes(PICTURES, None, SAMPLES / RATE_HZ), 32, 32)
    whole = SoundField("sound", SoundFormat(RATE_HZ, SAMPLES, 1))
    found = decode_sample(sample, (pictures, whole)).arrays
    part = round(round(SAMPLES / RATE_HZ / PICTURES, 3) * RATE_HZ)
    begin = (SAMPLES - PICTURES * part) // 2
    for segment in (0, 7):
        middle = begin + segment * part + part / 2
        sound = np.zeros((1, features.audio_samples), np.float32)
        first = round(middle - features.audio_samples / 2)
        there = found["sound"][:, max(first, begin) : first + features.audio_samples] / 32768
        sound[:, sound.shape[1] - there.shape[1] :] = there
        frames = torch.tensor(found["frames"][segment] / 255).float()[None, None]
        tokens = model.embed({"frames": frames, "sound": torch.tensor(sound)[None]})
        rows, columns, width = seen.shape[1:]
        torch.testing.assert_close(torch.tensor(seen[segment]).view(1, -1, width), tokens["visual"])
        assert rows * columns == tokens["visual"].shape[1]
        times = model.grids["audio"].laid_out(tokens["audio"])[0]  # frequency, time, width
        nearest = int(np.abs(model.moments_s["audio"]).argmin())  # none lies within so short a segment
        torch.testing.assert_close(torch.tensor(heard[segment]), times[:, nearest].mean(0))


def test_a_model_of_several_frames_is_not_shown_parts(tmp_path: Path) -> None:
    experiment = tiny_experiment()
    features = experiment.features.model_copy(update={"frames": 2, "audio_rate_hz": RATE_HZ})
    write_run(tmp_path / "run", experiment.model_copy(update={"features": features}))
    source = write_moving_set(tmp_path / "source", 2, 0)
    chosen = ExtractSettings.model_validate({"models": [{"model": str(tmp_path / "run")}], "by_part": True})
    with pytest.raises(SettingsError, match=r"--by-part: expected a model of one frame and sound, found .*frames = 2"):
        extract_features(str(source), str(tmp_path / "out"), chosen, DataSettings(workers=0), ALONE)
    both = chosen.model_copy(update={"means": True})
    with pytest.raises(SettingsError, match="--means: expected it without --by-part"):
        extract_features(str(source), str(tmp_path / "out"), both, DataSettings(workers=0), ALONE)


def test_a_trained_model_takes_no_other_weights(tmp_path: Path) -> None:
    write_run(tmp_path / "run", tiny_experiment())
    source = write_shard_set(tmp_path / "source", 2)
    chosen = ExtractSettings.model_validate({"models": [{"model": str(tmp_path / "run")}], "random_weights": True})
    with pytest.raises(SettingsError, match="--random-weights: .*run has weights of its own, and takes no others"):
        extract_features(str(source), str(tmp_path / "out"), chosen, DataSettings(workers=0), ALONE)
