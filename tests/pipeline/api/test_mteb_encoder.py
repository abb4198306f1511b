"""A model as an encoder of MTEB. What its package is needed for is skipped without it."""

import io
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline import api as gavt
from pipeline.api.mteb_encoder import MtebEncoder
from pipeline.errors import MediaError, SettingsError
from pipeline.sound.flac import encode_flac
from small_video import write_video
from tiny_run import RATE_HZ, SAMPLES, tiny_experiment, write_run

COUNT = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return gavt.load(write_run(tmp_path_factory.mktemp("mteb") / "run", tiny_experiment()), device="cpu")


def noise(seed, samples=SAMPLES):
    return np.random.default_rng(seed).integers(-8000, 8000, (1, samples), dtype=np.int16)


def sound_file(seed, samples=SAMPLES):
    return {"bytes": encode_flac(noise(seed, samples), RATE_HZ), "path": f"{seed}.flac"}


def video_file(folder, width):
    file = write_video(folder / f"{width}.mp4", (width, 64), sound_s=None)
    return {"bytes": file.read_bytes(), "path": None}


class Stored:
    """As much of a dataset as its files are asked of."""

    def __init__(self, columns):
        self.column_names, self._table = list(columns), pa.table(columns)

    def __len__(self):
        return self._table.num_rows

    def select_columns(self, names):
        return Stored({name: self._table[name] for name in names})

    def with_format(self, kind):
        assert kind == "arrow"
        return self

    def __getitem__(self, rows):
        return self._table.slice(rows.start, rows.stop - rows.start)


def encoded(encoder, **columns):
    return encoder.encode(SimpleNamespace(dataset=Stored(columns)), task_metadata=SimpleNamespace(name="Task"))


def normalised(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("stage", ["embedded", "encoded"])
def test_a_sound_as_long_as_the_model_s_is_the_mean_of_its_tokens(model, stage):
    found = encoded(MtebEncoder(model, stage), audio=[sound_file(seed) for seed in range(COUNT)], id=[*"abcd"])
    sounds = torch.from_numpy(np.stack([noise(seed) for seed in range(COUNT)])).float() / 32768
    network = model.trained.system.model
    with torch.no_grad():
        tokens = network.embed({"sound": sounds})
        tokens = network.fuse(tokens).tokens if stage == "encoded" else tokens
    assert found == pytest.approx(normalised(tokens["audio"].mean(1).numpy()), abs=1e-5)


def test_a_longer_sound_is_the_mean_over_moments_and_a_shorter_one_lies_in_silence(model):
    encoder, short = MtebEncoder(model), SAMPLES // 2
    found = encoded(encoder, audio=[sound_file(0, 2 * SAMPLES), sound_file(1, short)])
    halves = noise(0, 2 * SAMPLES).reshape(2, SAMPLES)
    padded = np.zeros((1, SAMPLES), np.int16)
    padded[0, (SAMPLES - short) // 2 :][:short] = noise(1, short)
    each = encoded(
        encoder,
        audio=[{"bytes": encode_flac(one.reshape(1, -1), RATE_HZ), "path": "a.flac"} for one in (*halves, *padded)],
    )
    assert found[0] == pytest.approx(normalised(each[:2].mean(0)), abs=1e-3)
    assert found[1] == pytest.approx(each[2], abs=1e-3)


def test_videos_and_pictures_are_seen_as_the_library_sees_them(model, tmp_path):
    clip = gavt.Clip(np.full((6, 40, 60, 3), 90, np.uint8), noise(0)[0] / np.float32(32768), RATE_HZ, fps=12)
    clip.write(tmp_path / "clip.mkv")
    still = io.BytesIO()
    Image.fromarray(clip.frames[0]).save(still, "PNG")
    of_video = encoded(MtebEncoder(model), video=[{"bytes": None, "path": str(tmp_path / "clip.mkv")}])
    of_picture = encoded(MtebEncoder(model), image=[{"bytes": still.getvalue(), "path": None}])
    seen = normalised(model.embed(clip).vectors["embedded/visual"][:1])
    assert of_video == pytest.approx(seen, abs=1e-4)
    assert of_picture == pytest.approx(seen, abs=1e-4)


def test_what_has_both_is_the_mean_of_the_two(model, tmp_path):
    encoder, video, audio = MtebEncoder(model), [video_file(tmp_path, 96)], [sound_file(0)]
    alone = encoded(encoder, video=video) + encoded(encoder, audio=audio)
    assert encoded(encoder, video=video, audio=audio) == pytest.approx(normalised(alone), abs=1e-5)


def test_similarities_are_cosines(model):
    encoder, vectors = MtebEncoder(model), np.array([[3.0, 4.0], [1.0, 0.0]])
    assert encoder.similarity(vectors, vectors).numpy() == pytest.approx(np.array([[1, 0.6], [0.6, 1]]))
    assert encoder.similarity_pairwise(vectors, vectors[::-1].copy()).tolist() == pytest.approx([0.6, 0.6])


def test_wrong_input_ends_with_a_sentence(model):
    encoder = MtebEncoder(model)
    with pytest.raises(SettingsError, match=r"Task: expected sounds, videos or pictures.* found text"):
        encoded(encoder, text=["a violin"])
    with pytest.raises(SettingsError, match="Task, row 1, audio: expected a file, .* found NoneType"):
        encoded(encoder, audio=[sound_file(0), None])
    with pytest.raises(MediaError, match="Task, row 0, video: expected a file"):
        encoded(encoder, video=[{"bytes": b"no video", "path": None}])
    with pytest.raises(SettingsError, match="stage: expected one of embedded, encoded, fused, found other"):
        encoded(MtebEncoder(model, "other"), audio=[sound_file(0)])


def test_mteb_s_own_evaluation_ranks_sounds_for_videos(model, tmp_path):
    mteb = pytest.importorskip("mteb")
    datasets = pytest.importorskip("datasets")
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.abstasks.task_metadata import TaskMetadata

    ids = [str(number) for number in range(COUNT)]
    videos = datasets.Dataset.from_dict({"id": ids, "video": [video_file(tmp_path, 64 + 32 * n) for n in range(COUNT)]})
    sounds = datasets.Dataset.from_dict({"id": ids, "audio": [sound_file(seed) for seed in range(COUNT)]})
    videos = videos.cast_column("video", datasets.Video())
    sounds = sounds.cast_column("audio", datasets.Audio())

    class Tiny(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="TinyV2A",
            description="videos look for sounds",
            dataset={"path": "tiny", "revision": "1"},
            type="Any2AnyRetrieval",
            category="v2a",
            modalities=["video", "audio"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, *_, **__):
            relevant = {one: {one: 1} for one in ids}
            split = RetrievalSplitData(queries=videos, corpus=sounds, relevant_docs=relevant, top_ranked=None)
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    encoder = MtebEncoder(model)
    (result,) = mteb.evaluate(encoder, Tiny(), cache=None, co2_tracker=False).task_results
    (scores,) = result.scores["test"]
    alike = encoded(
        encoder, video=[{"bytes": (tmp_path / f"{64 + 32 * n}.mp4").read_bytes()} for n in range(COUNT)]
    ) @ (encoded(encoder, audio=[sound_file(seed) for seed in range(COUNT)]).T)
    assert scores["recall_at_1"] == pytest.approx((alike.argmax(1) == np.arange(COUNT)).mean(), abs=1e-5)
    assert result.mteb_version == mteb.__version__
