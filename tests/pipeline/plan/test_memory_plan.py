"""What is planned from settings alone."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml

from jobs.cli import main
from pipeline.experiment import ExperimentSettings
from pipeline.plan.activations import trace_pass
from pipeline.plan.advice import advise
from pipeline.plan.machines import machines
from pipeline.plan.plan import make_plan, trace_model
from pipeline.settings.load import load_settings
from pipeline.train.engine.optimizer import hidden_matrices
from pipeline.train.load import untrained
from pipeline.train.system import build_system, example_batch
from tiny_shards import FEATURES, MODEL, write_shard_set

LARGE_BATCH = ("train.batch_size=4096", "train.micro_batch=4096")
SMALL_GIB = 2.3
"""Of a GPU on which the large batch fits only with some recomputation."""
GIANT = "configs/experiments/gavt_giant.yaml"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A settings file of a model that is traced in no time."""
    file = tmp_path_factory.mktemp("plan") / "tiny.yaml"
    train = {"steps": 850, "batch_size": 64}
    file.write_text(yaml.safe_dump({"features": FEATURES, "model": MODEL, "train": train}))
    return str(file)


@pytest.fixture(scope="module")
def traced(tiny):
    return trace_model(read(tiny), on_gpu=True)


def read(file, *overrides):
    return load_settings(file, ExperimentSettings, overrides).settings


def gpus(count=1, gib=80.0, **given):
    words = {"nodes": None, "gpus_per_node": None, "name": None, "mfu": 0.4, "samples_per_s": None} | given
    return machines(count, gpu_memory_gib=gib, **words)


@pytest.fixture(scope="module")
def plan(tiny, traced):
    return make_plan(read(tiny), gpus(samples_per_s=100.0), samples_per_shard=128, traced=traced)


def test_all_combinations_are_planned_and_the_settings_are_among_them(plan):
    ways = {(way.stage, way.offload, way.checkpointing) for way in plan.ways}
    assert len(ways) == len(plan.ways) == 8 * 3
    assert plan.chosen in plan.ways
    assert (plan.chosen.stage, plan.chosen.offload, plan.chosen.checkpointing) == (1, "none", "none")
    assert advise(plan).startswith("The settings fit")


def test_hours_and_shards_follow_from_the_pace(plan):
    assert plan.hours == pytest.approx(850 * 64 / 100 / 3600)
    assert plan.data.shards_per_s == pytest.approx(100 / 128)


def test_the_data_that_is_there_is_counted(tiny, traced, tmp_path):
    shards = write_shard_set(tmp_path / "shards", 16)
    settings = read(tiny, f"data.train={shards}")
    data = make_plan(settings, gpus(samples_per_s=10.0), traced=traced).data
    assert (data.samples, data.samples_per_shard, data.shards_per_s) == (16, 8, 1.25)
    assert data.epochs == 850 * 64 / 16


def test_cores_that_feed_a_gpu_follow_from_what_a_core_decodes(tiny, traced, tmp_path):
    given = make_plan(read(tiny), gpus(2, samples_per_s=500.0), traced=traced, core_samples_per_s=100.0).feeding
    assert (given.core_samples_per_s, given.is_measured, given.cores) == (100.0, False, 2.5)
    assert given.slots_bytes == 6 * 32 * traced.size.input_bytes
    unknown = make_plan(read(tiny), gpus(samples_per_s=500.0), traced=traced).feeding
    assert (unknown.core_samples_per_s, unknown.cores) == (None, None)
    shards = write_shard_set(tmp_path / "shards", 64)
    own = make_plan(read(tiny, f"data.train={shards}"), gpus(samples_per_s=500.0), traced=traced).feeding
    assert own.is_measured
    assert own.core_samples_per_s > 0
    assert own.cores == 500.0 / own.core_samples_per_s


def test_batches_that_lie_on_a_gpu_before_they_are_asked_for_are_planned(tiny, traced):
    chosen = make_plan(read(tiny), gpus(), traced=traced).chosen
    without = replace(traced, size=replace(traced.size, input_bytes=0))
    plain = make_plan(read(tiny), gpus(), traced=without).chosen
    assert chosen.memory.activations - plain.memory.activations == 3 * 64 * traced.size.input_bytes > 0
    assert chosen.per_sample - plain.per_sample == 3 * traced.size.input_bytes


def test_an_epoch_of_one_sample_of_each_video_is_counted_by_videos(tiny, traced, tmp_path):
    shards = write_shard_set(tmp_path / "shards", 32, samples_per_video=4)
    settings = read(tiny, f"data.train={shards}", "data.samples_per_video=1")
    data = make_plan(settings, gpus(samples_per_s=10.0), traced=traced).data
    assert (data.samples, data.samples_per_shard, data.shards_per_s) == (8, 2, 5.0)
    assert data.epochs == 850 * 64 / 8


@pytest.mark.parametrize(
    ("letter", "batch", "optimizer", "decay"),
    [("a", 6, "adam", 0.0), ("b", 32, "adamw", 0.01), ("c", 64, "adamw", 0.01)],
)
def test_the_thesis_experiments_have_their_hundred_epochs_and_hours(letter, batch, optimizer, decay):
    settings = read(f"configs/experiments/gavt_{letter}.yaml")
    train, videos = settings.train, 149_067 - 14_908
    assert settings.data.samples_per_video == 1
    assert (train.batch_size, train.optimizer, train.weight_decay) == (batch, optimizer, decay)
    assert 100 * videos <= train.steps * batch < 100 * videos + batch


def test_less_is_held_the_more_is_recomputed_and_the_more_is_shared_out(plan, tiny, traced):
    at = {(way.stage, way.offload, way.checkpointing): way for way in plan.ways}
    for stage in (0, 1, 2, 3):
        kept = [at[stage, "none", mode].memory.activations for mode in ("none", 2, "full")]
        assert kept == sorted(kept, reverse=True)
        assert kept[2] < 0.6 * kept[0]
    shared = make_plan(read(tiny), gpus(8), traced=traced)
    optimizers = [way.memory.optimizer for way in shared.ways if (way.offload, way.checkpointing) == ("none", "none")]
    assert optimizers[1] == optimizers[2] == optimizers[3] < optimizers[0] / 4


def test_more_memory_never_fits_fewer_samples_and_the_largest_micro_batch_is_the_last_that_fits(tiny, traced):
    settings = read(tiny)
    before = [0] * 24
    for gib in (1.2, 1.5, 2.0, 4.0):
        largest = [way.largest for way in make_plan(settings, gpus(gib=gib), traced=traced).ways]
        assert all(now >= then for now, then in zip(largest, before, strict=True))
        before = largest
    assert all(size % settings.task.group == 0 for size in before)
    assert min(before) > 0


@pytest.mark.parametrize(
    ("task", "gathers"),
    [
        (("task.negatives=ranks",), True),
        (("task.negatives=hard", "task.hard.among=ranks"), True),
        (("task.negatives=hard",), False),
    ],
    ids=["ranks", "hard-ranks", "hard"],
)
def test_frames_of_all_processes_among_which_alignment_looks_are_counted(tiny, task, gathers):
    settings, samples, processes = read(tiny, *task), 64, 9
    alone, among_all = (
        trace_model(settings, on_gpu=True, modes=["none"], processes=count).passes["none"] for count in (1, processes)
    )
    system = build_system(settings)
    tokens = samples * system.model.grids["visual"].count * system.model.widths["visual"] * 4
    peaks = [one.at_peak(samples, keeps_gradients=True)[0] for one in (alone, among_all)]
    if gathers:  # in the backward pass, where they are added up, their gradient and its sum
        assert peaks[1] - peaks[0] > (processes - 1) * tokens
    else:
        assert peaks[1] == peaks[0]


def test_what_does_not_fit_gets_advice_that_does(tiny, traced):
    settings = read(tiny, *LARGE_BATCH)
    small = gpus(gib=SMALL_GIB)
    plan = make_plan(settings, small, traced=traced)
    assert not plan.chosen.fits
    sentence = advise(plan)
    overrides = [word for word in sentence.replace(";", "").split() if word.startswith("train.")]
    followed = make_plan(read(tiny, *LARGE_BATCH, *overrides), small, traced=traced)
    assert followed.chosen.fits, sentence


def words_of(sentence):
    return [word.strip(";.") for word in sentence.split() if word.startswith("train.")]


def test_advice_names_every_setting_that_the_way_needs(tiny, traced):
    settings = read(tiny, "train.compile=true", "train.batch_size=512", "train.micro_batch=64")
    plan = make_plan(settings, gpus(8), traced=traced)
    in_files = next(way for way in plan.ways if way.offload == "nvme")
    only = replace(plan, ways=(in_files,), chosen=replace(plan.chosen, fits=False))
    words = words_of(advise(only))
    assert {"train.zero_stage=3", "train.offload=nvme", "train.compile=false"} < set(words)
    assert any(word.startswith("train.offload_folder=") for word in words)
    beside = next(way for way in plan.ways if (way.stage, way.offload) == (2, "none"))
    moved = replace(plan, ways=(beside,), chosen=replace(plan.chosen, offload="cpu", fits=False))
    assert {"train.zero_stage=2", "train.offload=none"} < set(words_of(advise(moved)))


def test_what_training_would_refuse_is_not_planned(tiny, traced):
    averaging = make_plan(read(tiny, "train.ema_decay=0.999"), gpus(), traced=traced)
    assert not [way for way in averaging.ways if way.offload == "nvme"]


def test_host_memory_for_the_copies_of_a_save_is_shared_like_the_states(tiny, traced):
    count = traced.size.total
    at = {
        (stage, number): make_plan(
            read(tiny, f"train.zero_stage={stage}", "train.batch_size=128"), gpus(number), traced=traced
        ).copies_bytes
        for stage in (0, 1, 3)
        for number in (1, 16)
    }
    assert at[0, 1] == at[0, 16] == 12 * count  # parameters, which are their own masters, and moments
    for stage in (1, 3):
        assert (at[stage, 1], at[stage, 16]) == (12 * count, 6 * count)  # 8 of 16 GPUs are on the machine


@pytest.mark.parametrize(
    ("precision", "optimizer", "states"), [("fp32", "adamw", 2), ("bf16", "adamw", 2), ("bf16", "sgd", 1)]
)
def test_what_is_frozen_is_planned_without_gradient_and_moments(tiny, precision, optimizer, states):
    """And what is trained with as many as its optimiser has."""
    words = ("train.freeze=[model.encoder.*]", f"train.precision={precision}", "train.zero_stage=0")
    words += (f"train.optimizer={optimizer}",)
    settings = read(tiny, *words)
    traced = trace_model(settings, True, ["none"])
    found = make_plan(settings, gpus(), traced=traced)
    number, kept = {"fp32": (4, 0), "bf16": (2, 4)}[precision]
    frozen = found.parameters["encoder"]
    trained = sum(found.parameters.values()) - frozen
    assert (traced.size.trained, sum(traced.size.frozen)) == (trained, frozen)
    assert found.chosen.memory.optimizer == (4 * states + kept) * trained
    assert found.chosen.memory.parameters == number * (trained + frozen) + traced.size.buffer_bytes
    assert found.chosen.memory.host == kept * frozen  # in 16 bits, what checkpoints hold of it in fp32
    assert found.copies_bytes == found.checkpoint_bytes == 4 * (1 + states) * trained + 4 * frozen


def test_muon_keeps_one_number_beside_each_of_a_matrix_and_two_beside_others(tiny):
    settings = read(tiny, "train.optimizer=muon", "train.zero_stage=0")
    traced = trace_model(settings, True, ["none"])
    found = make_plan(settings, gpus(), traced=traced)
    system = untrained(settings, "cpu", 0)
    matrices = sum(parameter.numel() for parameter in hidden_matrices(system))
    assert 0 < matrices < traced.size.trained
    assert found.chosen.memory.optimizer == pytest.approx(8 * traced.size.trained - 4 * matrices)
    assert found.checkpoint_bytes == pytest.approx(12 * traced.size.trained - 4 * matrices)


def test_a_gpu_that_is_too_small_for_anything_is_said_to_be(tiny, traced):
    assert advise(make_plan(read(tiny), gpus(gib=1.053), traced=traced)).startswith("Nothing fits")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_are_those_of_a_real_pass(precision):
    """What is saved for the backward pass, against torch's own hooks over real tensors."""
    settings = ExperimentSettings.model_validate({"features": FEATURES, "model": MODEL | {"dropout": 0.0}})
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    system = untrained(settings, "cpu", 0).train().to(dtype)
    own = {tensor.untyped_storage().data_ptr() for tensor in [*system.parameters(), *system.buffers()]}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    given, targets = example_batch(system, settings, 32, "cpu")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        system(given, targets)
    inputs = sum(part.untyped_storage().nbytes() for part in given.values())
    with torch.device("meta"):
        planned = trace_pass(settings, build_system(settings).train(), dtype, on_gpu=False)
    live, _, _ = planned.at_peak(32, keeps_gradients=False)
    assert sum(saved.values()) < live < 1.25 * (sum(saved.values()) + inputs)


@pytest.mark.slow
def test_the_giant_is_planned_without_its_memory():
    code = f"""
import resource, torch
from pipeline.plan.machines import machines
from pipeline.plan.plan import own_way
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import load_settings
from pipeline.train.engine.optimizer import hidden_matrices
settings = load_settings({GIANT!r}, ExperimentSettings, ["task.group=8"]).settings
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
way = own_way(settings, machines(128, 16, 8, None, "h200", 0.4, None))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, way.memory.total)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    growth_kib, total = map(float, done.stdout.split())
    assert growth_kib < 200 * 1024
    assert 2e9 * 2 < total < 140e9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--gpus: expected the number of GPUs"),
        (["--gpus", "8"], "--gpu-memory: expected GiB of one GPU"),
        (["--gpus", "8", "--gpu-memory", "0.9"], "--gpu-memory: expected more than the 1 GiB that CUDA and its"),
        (["--gpus", "8", "--gpu", "abacus"], "--gpu: expected one of b200, "),
        (["--gpus", "7", "--nodes", "2", "--gpus-per-node", "4", "--gpu-memory", "80"], "2 × 4 = 8, found 7"),
        (["--gpus", "3", "--gpu-memory", "80"], "train.batch_size: expected a multiple of the 3 processes"),
    ],
)
def test_wrong_words_get_one_sentence(tiny, words, message, capsys):
    with pytest.raises(SystemExit) as left:
        main(["plan", tiny, *words])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_the_verb_prints_the_plan_as_json_and_imports_no_compiler_for_it(tiny):
    words = ["plan", tiny, "train.batch_size=128", "--gpus", "2", "--gpu", "h100", "--mfu", "0.5", "--json"]
    code = f"""
import sys
from jobs.cli import main
try:
    main({words!r})
finally:
    print("torch._dynamo" in sys.modules, "_dynamo" in vars(sys.modules["torch"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *_, printed, there = done.stdout.splitlines()
    assert there == "False False"
    found = json.loads(printed)
    assert found["micro_batch"] == 64
    assert found["samples_per_s"] == pytest.approx(
        2 * 67e12 * 0.5 / (found["flops"]["forward"] + found["flops"]["backward"])
    )
    assert len(found["ways"]) == 24
    memory = found["chosen"]["memory"]
    parts = ("parameters", "gradients", "optimizer", "work", "activations")
    assert memory["total"] == pytest.approx(sum(memory[part] for part in parts))
    assert "The settings fit" in found["advice"]


def test_the_verb_says_where_the_tokens_of_each_stream_look(tiny, capsys):
    with pytest.raises(SystemExit) as left:
        main(["plan", tiny, "--gpus", "1", "--gpu", "h100", "--json"])
    assert left.value.code == 0
    said = capsys.readouterr()
    lines = [line.split() for line in said.err.splitlines()]
    assert ["visual", "row", "8", "32", "4", "0.5", "-0.38", "cells", "15"] in lines
    assert ["audio", "time", "8", "32", "4", "0.5", "-0.38", "cells", "15"] in lines
    assert ["class", "token", "1", *"–––––"] in lines
    grids = json.loads(said.out.splitlines()[-1])["grids"]
    assert grids["visual"]["axes"] == [["time", 1], ["row", 8], ["column", 8]]
    assert grids["visual"]["sees"]["row"] == {"length": 32, "centre": 0.5, "stride": 4, "size": 15}
