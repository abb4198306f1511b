"""Media named by the benchmarks' ids, prepared by their lists and judged: the annotated frame, and real lists."""

import csv
import json
import os
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.evaluate.benchmarks.benchmarks import open_benchmark
from pipeline.evaluate.evaluate import evaluate
from pipeline.evaluate.measures.contract import Table, tables_of
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.prepare.manifests.read import ListOptions, VideoList
from pipeline.prepare.prepare import in_this_process, prepare
from pipeline.prepare.settings import PrepareSettings
from tiny_run import RATE_HZ, SAMPLES, tiny_experiment, write_run, write_shards

PLACES = [[0.05, 0.1, 0.3, 0.5], [0.7, 0.5, 0.95, 0.9], [0.1, 0.55, 0.4, 0.95], [0.6, 0.05, 0.9, 0.4]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("trained") / "run", tiny_experiment())


def judge(run: str, shards: str, out: Path, **settings: Any) -> Table:
    evaluated = EvaluateSettings.model_validate(
        {
            "measures": [{"kind": "benchmark", **settings}],
            "readouts": ["attention"],
            "saliency": ["frequency_tuned"],
        }
    )
    (found,) = tables_of(evaluate(run, shards, None, str(out), evaluated))
    return found


def write_moment(path: Path, box: list[float], rng: np.random.Generator) -> None:
    """Ten seconds of a dark, wide picture, and at second 5 alone something orange in a box."""
    width, height, fps = 96, 48, 4
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.time_base = Fraction(1, fps)
        audio = out.add_stream("aac", rate=16_000, layout="mono")
        for number in range(10 * fps):
            pixels = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
            if number == 5 * fps:
                x1, y1, x2, y2 = box
                pixels[int(y1 * height) : int(y2 * height), int(x1 * width) : int(x2 * width)] = (250, 120, 20)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        noise = rng.normal(0, 0.1, (1, 160_000)).astype(np.float32)
        sound = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 16_000, 0
        for packet in [*audio.encode(sound), *audio.encode(None)]:
            out.mux(packet)


def test_vgg_ss_is_judged_on_the_annotated_frame_of_each_video(run: str, tmp_path: Path) -> None:
    names = [f"abcdefghij{letter}_00003{number}" for number, letter in enumerate("ABCD")]
    entries = [{"file": name, "class": name[10], "bbox": [box]} for name, box in zip(names, PLACES, strict=True)]
    entries += [{"file": "zzzzzzzzzzz_000001", "class": "none", "bbox": [PLACES[0]]}]
    (tmp_path / "vggss.json").write_text(json.dumps(entries))
    (tmp_path / "videos").mkdir()
    for name, box in zip(names, PLACES, strict=True):
        write_moment(tmp_path / "videos" / f"{name}.mp4", box, np.random.default_rng(1))
    videos = VideoList([str(tmp_path / "vggss.json")], ListOptions(source=str(tmp_path / "videos" / "{video}.mp4")))
    recipe = PrepareSettings(audio_rate_hz=RATE_HZ, audio_samples=SAMPLES)
    prepare(videos, str(tmp_path / "set"), recipe, in_this_process)
    found = judge(run, str(tmp_path / "set"), tmp_path / "out", name="vggss", list=str(tmp_path / "vggss.json"))
    rows = {row.name: row.values for row in found.rows}
    assert rows["image saliency"]["pointing"] == 1.0  # of the whole frame, twice as wide as high
    assert rows["ceiling: the truth"]["ciou_adap"] == 1.0
    assert found.details["coverage"]["missing"] == {"not prepared (missing)": 1}


def place(name: str) -> str:
    path = Path(os.environ.get("GAVT_CORPUS", "")) / "manifests" / name
    if "GAVT_CORPUS" not in os.environ or not path.exists():
        pytest.skip(f"GAVT_CORPUS has no list {name}")
    return str(path)


def firsts(name: str, count: int, of: Callable[[list[str]], list[str]] = lambda cells: cells[::2]) -> list[str]:
    """Ids of the first rows of a real list."""
    path = place(name)
    if path.endswith(".json"):
        return [entry["file"] for entry in json.loads(Path(path).read_text())[:count]]
    with open(path) as file:
        rows = [row for row in islice(csv.reader(file), count + 1) if row[0] != "video"][:count]
    return list(dict.fromkeys(name for row in rows for name in of(row)))


VGGSS, PAIRS = "VGGSS/vggss.json", "SSLalignment/vggss_test_plus_silent.csv"
REAL: list[tuple[str, str, dict[str, str], int, str]] = [
    ("vggss", VGGSS, {}, 8, "ciou"),
    ("extended-vggss", VGGSS, {"pairs": PAIRS}, 8 + 8, "ap"),
    ("music-duet", "AVGN/music_duet.json", {}, 2 * 8, "piap"),
    ("vggsound-duet", "AVGN/vggsound_duet_test.csv", {"truths": VGGSS}, 2 * 8, "piap"),
    ("is3", "SSLalignment/synthetic3240_bbox.json", {}, 8, "iiou"),
]


@pytest.mark.parametrize(("name", "listed", "others", "least", "figure"), REAL, ids=[one[0] for one in REAL])
def test_the_first_media_of_a_real_list_are_judged_by_its_figures(
    name: str, listed: str, others: dict[str, str], least: int, figure: str, run: str, tmp_path: Path
) -> None:
    if name == "is3":
        entries = sorted(json.loads(Path(place(listed)).read_text()), key=lambda entry: str(entry["image"]))
        media = [Path(entry["image"]).stem for entry in entries[:8]]
    else:
        media = firsts(listed, 8)
    if "pairs" in others:
        media = list(dict.fromkeys([*media, *firsts(others["pairs"], 8, lambda cells: cells[:2])]))
    shards = write_shards(tmp_path / "shards", [{"video": medium} for medium in media])
    settings = {key: place(other) for key, other in others.items()}
    wanted = open_benchmark(name, place(listed), **settings).samples
    count = sum(set(sample.media) <= set(media) for sample in wanted)
    found = judge(run, shards, tmp_path / "out", name=name, list=place(listed), **settings)
    rows = {row.name: row.values for row in found.rows}
    assert found.samples == count >= least
    assert rows["model"][figure] is not None
    assert (rows["ceiling: the truth"][figure] or 0) >= (rows["model"][figure] or 0)
    coverage = found.details["coverage"]
    assert (coverage["found"], sum(coverage["missing"].values())) == (count, coverage["wanted"] - count)
    assert coverage["unknown"] == 0
    assert {"model, missing ones as failures", "centre disc", "image saliency", "untrained network"} <= rows.keys()
