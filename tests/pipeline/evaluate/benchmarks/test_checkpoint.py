"""A trained model on a benchmark's list: the frames and sounds that it asks for, judged as maps of others are."""

import json
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cluster.errors import UserError
from pipeline.errors import SettingsError
from pipeline.evaluate import samples as evaluation_samples
from pipeline.evaluate.benchmarks.benchmarks import open_benchmark
from pipeline.evaluate.benchmarks.prepared_media import PreparedMedia, views_of
from pipeline.evaluate.benchmarks.sample import BenchmarkSample
from pipeline.evaluate.benchmarks.score import score_maps
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.measures import choice
from pipeline.evaluate.measures.contract import Table, tables_of
from pipeline.evaluate.readouts.build import build_readout
from pipeline.evaluate.result import Evaluation, chosen_readout, placement_of
from pipeline.evaluate.sample_scores import read_scores
from pipeline.evaluate.samples import EvaluationBatch, EvaluationSamples
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.prepare.manifests.read import ListOptions, VideoList
from pipeline.prepare.prepare import in_this_process, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.shards.shard_set import ShardSet
from pipeline.train.load import load_trained
from raw_tar import tar_of
from tiny_run import RATE_HZ, SAMPLES, tiny_experiment, write_run, write_shards

IDS = [f"abcdefghij{letter}_0000{number:02d}" for number, letter in enumerate("ABCDEFGHIJ")]
LABELS = ["violin", "drum", "flute", "piano"]


def box_of(number: int) -> list[float]:
    left = 0.1 + 0.07 * (number % 6)
    return [left, 0.2, left + 0.35, 0.7]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [
        {"video": name, "labels": [LABELS[number % 4]], "boxes": [box_of(number)]} for number, name in enumerate(IDS)
    ]
    return write_shards(tmp_path_factory.mktemp("set") / "shards", rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("trained") / "run", tiny_experiment())


def write_vggss(folder: Path, ids: list[str] = IDS) -> str:
    entries = [{"file": name, "class": LABELS[number % 4], "bbox": [box_of(number)]} for number, name in enumerate(ids)]
    (folder / "vggss.json").write_text(json.dumps(entries))
    return str(folder / "vggss.json")


def judge(run: str, shards: str, out: Path, validation: str | None = None, **settings: Any) -> Evaluation:
    evaluated = EvaluateSettings.model_validate(
        {"measures": [{"kind": "benchmark", **settings}], "readouts": ["attention"], "batch_size": 3}
    )
    return evaluate(run, shards, validation, str(out), evaluated)


def table(result: Evaluation) -> Table:
    (found,) = tables_of(result)
    return found


def maps_of(run: str, shards: str, pairs: dict[str, tuple[str, str]]) -> dict[str, np.ndarray]:
    """By id of a sample, the map of a frame with a sound."""
    trained = load_trained(run, torch.device("cpu"))
    settings = EvaluateSettings()
    samples = EvaluationSamples.open(shards, trained.settings, settings, torch.device("cpu"))
    batch = samples.read(range(len(samples))).judged
    row = {metadata.video: place for place, metadata in enumerate(batch.metadata)}
    inputs = {
        "frames": batch.inputs["frames"][[row[frame] for frame, _ in pairs.values()]],
        "sound": batch.inputs["sound"][[row[sound] for _, sound in pairs.values()]],
    }
    made = build_readout("attention", settings)(trained.system, inputs).numpy()
    return dict(zip(pairs, made, strict=True))


def assert_same_rows(found: Table, expected: Table) -> None:
    rows = {row.name: row.values for row in found.rows}
    for row in expected.rows:
        assert rows[row.name] == pytest.approx(row.values), row.name
    assert found.columns == expected.columns


def test_a_checkpoint_scores_what_gavt_score_says_of_its_maps(run: str, shards: str, tmp_path: Path) -> None:
    listed = write_vggss(tmp_path, [*IDS, "zzzzzzzzzzz_000001"])
    result = judge(run, shards, tmp_path / "out", name="vggss", list=listed)
    found = table(result)
    expected = score_maps(
        open_benchmark("vggss", listed), maps_of(run, shards, {name: (name, name) for name in IDS}), controls=True
    )
    assert_same_rows(found, expected.table)
    assert {"image saliency", "untrained network", "shuffled audio"} <= {row.name for row in found.rows}
    assert found.rows[0].made_by == chosen_readout(result) == "attention"  # by which gavt localize draws then
    assert placement_of(result, "attention") == "even"
    assert found.details["coverage"] == {
        "wanted": 11,
        "found": 10,
        "missing": {"not in the shard set": 1},
        "not_finite": 0,
        "empty_truths": 0,
        "unknown": 0,
    }
    assert "10 of 11 maps found, 1 missing: not in the shard set" in found.notes[0]
    scores = read_scores(str(tmp_path / "out"))["benchmark_vggss"]
    assert scores.ids == IDS
    figures = {name: scores.statistic("model", name).value for name in found.rows[0].values}
    assert figures == pytest.approx(found.rows[0].values)


def test_figures_are_the_same_however_samples_are_cut_into_chunks(
    run: str, shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = tmp_path / "pairs.csv"
    lines = [f"{frame},{sound},non-sounding" for frame, sound in zip(IDS, [*IDS[3:], *IDS[:3]], strict=True)]
    pairs.write_text("\n".join(["video,audio,label", *lines, ""]))
    asked = {"name": "extended-vggss", "list": write_vggss(tmp_path), "pairs": str(pairs)}
    whole = table(judge(run, shards, tmp_path / "whole", **asked))
    monkeypatch.setattr(evaluation_samples, "_CHUNK", 3)
    parts = table(judge(run, shards, tmp_path / "parts", **asked))
    assert_same_rows(parts, replace_rows(whole, "shuffled audio"))
    asked_pairs = {name: (name, name) for name in IDS}
    asked_pairs |= {f"{frame},{sound}": (frame, sound) for frame, sound, _ in (line.split(",") for line in lines)}
    wanted = open_benchmark("extended-vggss", asked["list"], asked["pairs"])
    assert_same_rows(whole, score_maps(wanted, maps_of(run, shards, asked_pairs), controls=True).table)
    assert [column.name for column in whole.columns] == ["ap", "max_f1", "loc_acc", "auc"]
    assert whole.samples == 20


def replace_rows(found: Table, without: str) -> Table:
    kept = tuple(row for row in found.rows if row.name != without)
    return Table(found.measure, found.title, found.columns, kept, found.samples)


def test_sources_of_a_mixture_have_the_map_of_their_frame(run: str, shards: str, tmp_path: Path) -> None:
    entries = [
        {
            "file": name,
            "class_src1": "violin",
            "bbox_src1": [0.1, 0.1, 0.3, 0.5],
            "class_src2": "drum",
            "bbox_src2": [0.5, 0.1, 0.3, 0.5],
        }
        for name in IDS
    ]
    (tmp_path / "duet.json").write_text(json.dumps(entries))
    found = table(judge(run, shards, tmp_path / "out", name="music-duet", list=str(tmp_path / "duet.json")))
    rows = {row.name: row.values for row in found.rows}
    assert found.samples == 20
    assert rows["model"]["ap"] == pytest.approx(rows["model"]["piap"])  # one map for both
    pairs = {f"{name}:{label}": (name, name) for name in IDS for label in ("violin", "drum")}
    wanted = open_benchmark("music-duet", str(tmp_path / "duet.json"))
    assert_same_rows(found, score_maps(wanted, maps_of(run, shards, pairs), controls=True).table)
    assert "the model has one map for them all" in " ".join(found.notes)


def test_several_frames_are_shown_one_by_one_with_their_sounds_added_up(run: str, shards: str) -> None:
    trained = load_trained(run, torch.device("cpu"))
    samples = EvaluationSamples.open(shards, trained.settings, EvaluateSettings(), torch.device("cpu"))
    mixed = BenchmarkSample("mix", (), seen=(IDS[0], IDS[5]), heard=(IDS[0], IDS[5]))
    media = PreparedMedia(samples)
    place = media.place_of(IDS[0])
    assert place is not None
    hand = media.at_hand([mixed], samples.read([place]))
    shown = hand.shown(views_of([mixed, mixed]))
    assert [metadata.video for metadata in shown.metadata] == [IDS[0], IDS[5]]
    both = hand.batch.inputs["sound"][[hand.rows[IDS[0]], hand.rows[IDS[5]]]].sum(0)
    assert torch.equal(shown.inputs["sound"], torch.stack([both, both]))


def test_frames_without_boxes_in_the_set_are_shown_whole(run: str, tmp_path: Path) -> None:
    plain = write_shards(tmp_path / "plain", [{"video": name} for name in IDS], size=(90, 40))
    listed = write_vggss(tmp_path)
    found = table(judge(run, plain, tmp_path / "out", name="vggss", list=listed))
    maps = maps_of(run, plain, {name: (name, name) for name in IDS})
    assert_same_rows(found, score_maps(open_benchmark("vggss", listed), maps).table)
    assert "evaluate.geometry=squash" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"name": "vggsss"}, "expected one of vggss"),
        ({"list": "none.json"}, "none.json"),
        ({"name": "extended-vggss"}, "extended-vggss: pairs: expected its list"),
    ],
)
def test_wrong_settings_end_with_a_sentence(
    run: str, shards: str, tmp_path: Path, asked: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        judge(run, shards, tmp_path / "out", **{"name": "vggss", "list": write_vggss(tmp_path), **asked})


def test_a_set_of_another_list_and_cut_frames_are_refused(run: str, shards: str, tmp_path: Path) -> None:
    other = write_vggss(tmp_path, ["zzzzzzzzzzz_000001"])
    with pytest.raises(SettingsError, match="such as zzzzzzzzzzz_000001, found others such as abcdefghij"):
        judge(run, shards, tmp_path / "out", name="vggss", list=other)
    settings = EvaluateSettings.model_validate(
        {"measures": [{"kind": "benchmark", "name": "vggss", "list": write_vggss(tmp_path)}], "geometry": "centre"}
    )
    with pytest.raises(SettingsError, match="expected squash or letterbox"):
        evaluate(run, shards, None, str(tmp_path / "out"), settings)


def test_a_benchmark_that_can_not_be_had_is_left_out_with_its_reason_beside_others(
    run: str, shards: str, tmp_path: Path
) -> None:
    benchmarks = [
        {"kind": "benchmark", "name": "vggss", "list": write_vggss(tmp_path)},
        {"kind": "benchmark", "name": "is3", "list": str(tmp_path / "none.json")},
    ]
    asked = {"measures": benchmarks, "readouts": ["attention"], "batch_size": 3, "published": ["ave"]}
    result = evaluate(run, shards, None, str(tmp_path / "out"), EvaluateSettings.model_validate(asked))
    assert table(result).measure == "benchmark_vggss"
    benchmark, published = result["left_out"]
    assert benchmark.startswith(f"benchmark is left out: {tmp_path}/none.json: ")
    assert published.startswith("published figures of ave are left out: they belong to a table of events ")


def test_images_and_sounds_of_a_list_are_prepared_and_judged_and_what_is_missing_has_its_reason(
    run: str, tmp_path: Path
) -> None:
    names = [f"1000013016{number}" for number in range(6)]
    put_media(tmp_path, names[:5])
    (tmp_path / "audio" / f"{names[1]}.wav").write_text("no sound")
    put_annotations(tmp_path / "Annotations", names)
    pairs = tmp_path / "flickr_test_plus_silent.csv"
    pairs.write_text(
        "video,audio,label\n"
        + "".join(f"{one},{other},non-sounding\n" for one, other in zip(names, names[2:] + names[:2], strict=True))
    )
    options = ListOptions(
        source=str(tmp_path / "frames" / "{video}.jpg"), sound=str(tmp_path / "audio" / "{video}.wav")
    )
    settings = PrepareSettings(audio_rate_hz=RATE_HZ, audio_samples=SAMPLES)
    prepare(VideoList([str(pairs)], options), str(tmp_path / "set"), settings, in_this_process)
    annotations = str(tmp_path / "Annotations")
    alone = table(judge(run, str(tmp_path / "set"), tmp_path / "out", name="flickr", list=annotations))
    assert alone.details["coverage"]["missing"] == {
        "not prepared (unreadable)": 1,
        "not prepared (missing)": 1,
    }
    assert "4 of 6 maps found" in alone.notes[0]
    values = {row.name: row.values for row in alone.rows}
    assert values["ceiling: the truth"]["ciou_adap"] == 1.0
    failed = values["model, missing ones as failures"]["pointing"]
    assert failed == pytest.approx((values["model"]["pointing"] or 0.0) * 4 / 6)
    asked = {"name": "extended-flickr", "list": annotations, "pairs": str(pairs)}
    both = table(judge(run, str(tmp_path / "set"), tmp_path / "both", **asked))
    # pairs are 0,2 1,3 2,4 3,5 4,0 5,1, of which 1 and 5 are not there
    assert (both.samples, both.details["coverage"]["wanted"]) == (4 + 3, 12)


def put_media(folder: Path, names: list[str]) -> None:
    """An image and a sound of each, in the folders that the public loaders have."""
    rng = np.random.default_rng(3)
    for kind in ("frames", "audio"):
        (folder / kind).mkdir()
    for name in names:
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(folder / "frames" / f"{name}.jpg")
        with wave.open(str(folder / "audio" / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(rng.integers(-9000, 9000, SAMPLES + 500, dtype=np.int16).tobytes())


def put_annotations(folder: Path, names: list[str]) -> None:
    """Three annotators' boxes of each."""
    folder.mkdir()
    boxes = ((40, 40, 200, 220), (50, 40, 210, 230), (20, 30, 190, 200))
    drawn = "".join(
        f"<object><bbox><id>{number}</id>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(("a", "b", "c", "d"), box, strict=True))
        + "</bbox></object>"
        for number, box in enumerate(boxes)
    )
    for name in names:
        (folder / f"{name}.xml").write_text(f"<annotation>{drawn}</annotation>")


def test_media_in_tars_of_others_are_found_by_their_keys(run: str, shards: str, tmp_path: Path) -> None:
    own = ShardSet.open(shards)
    files: dict[str, bytes] = {}
    for sample in map(own.read, range(len(own))):
        files |= {f"{sample.metadata.video}.jpg": sample.images[0], f"{sample.metadata.video}.flac": sample.audio}
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "part-0.tar").write_bytes(tar_of(files))
    listed = write_vggss(tmp_path)
    found = [
        table(judge(run, url, tmp_path / "out", name="vggss", list=listed)) for url in (shards, str(tmp_path / "tars"))
    ]
    assert_same_rows(found[1], replace_rows(found[0], "shuffled audio"))  # nobody says what these sounds are


def test_the_validation_split_chooses_once_for_all_measures_which_then_say_the_same(
    run: str, shards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"labels": ["drum"], "boxes": [box_of(number)]} for number in range(6)]
    validation = write_shards(tmp_path / "validation", rows, seed=1)
    looks: list[int] = []

    def count(batches: Sequence[EvaluationBatch], *others: Any) -> choice.Hits:
        looks.append(sum(map(len, batches)))
        return count_hits(batches, *others)

    count_hits = choice.count_hits
    monkeypatch.setattr(choice, "count_hits", count)
    listed = write_vggss(tmp_path)
    settings = EvaluateSettings.model_validate(
        {
            "measures": [{"kind": "localisation"}, {"kind": "benchmark", "name": "vggss", "list": listed}],
            "readouts": ["attention", "attention_silence", "gradient_weighted"],
        }
    )
    located, listed_table = tables_of(evaluate(run, shards, validation, str(tmp_path / "out"), settings))
    assert looks == [6]
    assert listed_table.details["readout"] == located.details["readout"]
    known = {row.name: row.values for row in located.rows}
    judged = {row.name: row.values for row in listed_table.rows}
    for name in ("model", "image saliency", "untrained network", "shuffled audio", "centre disc"):
        expected = {figure: known[name][figure] for figure in ("pointing", "ciou", "auc", "ciou_adap")}
        assert {figure: judged[name][figure] for figure in expected} == pytest.approx(expected), name
    for figure, value in judged["mean box of the validation split"].items():
        assert value == pytest.approx(known["mean box"][figure])
