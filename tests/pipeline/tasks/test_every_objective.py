"""What every objective keeps, by a table of all that there are: `tests/objectives.py`."""

import json
import math
import shutil
from itertools import product

import pytest
import torch

from called_operations import UNREPEATABLE, CalledOperations
from demanding_tasks import MODEL_KINDS
from many_runs import train_all
from objectives import OBJECTIVES
from peak_bytes import peak_bytes
from pipeline.errors import SettingsError
from pipeline.experiment import ExperimentSettings
from pipeline.models.registry import MODELS
from pipeline.plan.activations import trace_pass
from pipeline.plan.machines import machines
from pipeline.plan.plan import make_plan
from pipeline.settings.load import load_settings
from pipeline.tasks.registry import TASKS
from pipeline.train.dry_run import dry_run
from pipeline.train.load import untrained
from pipeline.train.loop import train
from pipeline.train.system import build_system, example_batch
from saved_weights import saved_weights

STEPS, LEFT_AT = 4, 2
"""Of a run, and after which it is left and gone on with."""
MANY = 64
"""Samples with which most memory is that of activations."""
each = pytest.mark.parametrize("kind", OBJECTIVES)


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A settings file that leaves all to the words behind it."""
    file = tmp_path_factory.mktemp("settings") / "empty.yaml"
    file.write_text("")
    return str(file)


@pytest.fixture(scope="module")
def read(empty):
    """The settings of an objective, as other words change them."""

    def settings(kind, *words):
        return load_settings(empty, ExperimentSettings, [*OBJECTIVES[kind].words(), *words]).settings

    return settings


@pytest.fixture(scope="module")
def words_of(tmp_path_factory):
    """The words of an objective's run at a ZeRO stage; those whose shard sets are written alike share them."""
    folders = {}

    def words(kind, stage):
        objective = OBJECTIVES[kind]
        if objective.shards not in folders:
            folders[objective.shards] = objective.write_data(tmp_path_factory.mktemp("data"))
        own = objective.words(folders[objective.shards])
        return [*own, f"train.zero_stage={stage}", f"train.checkpoint_every={LEFT_AT}"]

    return words


@pytest.fixture(scope="module")
def train_here(empty, group, words_of):
    """Trains an objective in a folder, in this process."""

    def run(kind, folder, stage):
        settings = load_settings(empty, ExperimentSettings, words_of(kind, stage)).settings
        return train(settings, str(folder), group, lambda record: None)

    return run


@pytest.fixture(scope="module")
def tested(request):
    """The objectives that were asked for, by `-k` say."""
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return [kind for kind in OBJECTIVES if any(call.get("kind") in (None, kind) for call in calls)]


@pytest.fixture(scope="module")
def alone(tested, train_here, tmp_path_factory):
    """Of each objective the folder of a run by one process at ZeRO stage 3."""
    folder = tmp_path_factory.mktemp("alone")
    for kind in tested:
        train_here(kind, folder / kind, 3)
    return {kind: folder / kind for kind in tested}


@pytest.fixture(scope="module")
def together(empty, tested, words_of, tmp_path_factory):
    """The same by two processes at stage 0."""
    folder = tmp_path_factory.mktemp("together")
    train_all(empty, [(folder / kind, *words_of(kind, 0)) for kind in tested], 2)
    return {kind: folder / kind for kind in tested}


def step_folder(run, step):
    return run / "checkpoints" / f"step-{step:010d}"


def left(run, folder):
    """A copy of a run as if it had been killed before its last checkpoint."""
    shutil.copytree(run, folder)
    shutil.rmtree(step_folder(folder, STEPS))
    return folder


def records(run):
    """Of each record all that must be the same after any interruption: what is not measured of the machine."""
    settings = load_settings(str(run / "config.yaml"), ExperimentSettings).settings
    metrics = [metric.name for metric in settings.task.metrics]
    names = ["step", "learning_rate", "grad_norm", *metrics, *(f"validation/{name}" for name in metrics)]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in names if name in row} for row in rows]


def assert_same(run, other):
    assert records(run) == records(other)
    ours, theirs = (saved_weights(step_folder(one, STEPS)) for one in (run, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def assert_alike(run, other):
    """The same but for the order in which numbers are added."""
    for ours, theirs in zip(records(run), records(other), strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name] == (None if value is None else pytest.approx(value, rel=1e-4, abs=1e-6)), name


def test_the_table_has_every_objective():
    own = {kind for kind in TASKS.names() if TASKS.settings_of(kind).__module__.startswith("pipeline.")}
    assert own == {objective.task["kind"] for objective in OBJECTIVES.values()}
    assert all(OBJECTIVES[kind].task["kind"] == kind for kind in own)


@each
def test_its_first_metric_is_the_loss_and_what_was_not_seen_has_no_figure(read, kind):
    task = read(kind).task
    units = {metric.name: metric.unit for metric in task.metrics}
    assert len(units) == len(task.metrics)
    assert task.metrics[0].unit == "loss"
    for metric in task.metrics:
        assert {metric.ceiling, metric.checked_by} <= {None, *units}
    nothing = task.figures(dict.fromkeys(task.sums, 0.0))
    assert nothing.keys() <= units.keys()
    assert all(value is None or units[name] == "count" for name, value in nothing.items())


@each
def test_a_batch_that_is_seen_again_and_again_is_learnt(read, kind):
    settings = read(kind)
    system = untrained(settings, "cpu", 0).train()
    inputs, targets = example_batch(system, settings, 8, "cpu")
    optimizer = torch.optim.AdamW([one for one in system.parameters() if one.requires_grad], 3e-3)
    losses = []
    for _ in range(20):
        loss, sums = system(inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert len(sums) == len(settings.task.sums)
        assert not sums.requires_grad
        assert loss.item() == pytest.approx((sums[0] / sums[1]).item(), rel=1e-5)
    assert losses[-1] < losses[0]


@each
def test_all_that_it_computes_can_be_repeated_to_the_bit_on_a_gpu(read, kind):
    settings = read(kind)
    system = untrained(settings, "cpu", 0).train()
    inputs, targets = example_batch(system, settings, 8, "cpu")
    with CalledOperations() as called:
        system(inputs, targets)[0].backward()
    assert any("backward" in name for name in called.names)
    assert not called.names & UNREPEATABLE


@each
def test_among_several_it_has_the_loss_and_the_sums_that_it_has_alone(read, kind):
    task = OBJECTIVES[kind].task
    both = {"once": {"task": task}, "again": {"task": task, "weight": 0.5}}
    settings = read(kind, f"task={json.dumps({'kind': 'several', 'tasks': both})}")
    system = untrained(settings, "cpu", 0).train()
    inputs, targets = example_batch(system, settings, 8, "cpu")
    loss, sums = system(inputs, targets)
    found = {}
    for name in both:
        own = {key.removeprefix(f"{name}/"): one for key, one in targets.items() if key.startswith(f"{name}/")}
        found[name] = system.task.tasks[name](system.model, inputs, own)
    torch.testing.assert_close(loss, found["once"][0] + 0.5 * found["again"][0])
    torch.testing.assert_close(sums[2:], torch.cat([own.double() for _, own in found.values()]))


@each
def test_it_is_planned_and_its_activations_are_those_of_a_real_step(read, kind):
    settings = read(kind)
    where = machines(2, nodes=None, gpus_per_node=None, name=None, gpu_memory_gib=80.0, mfu=0.4, samples_per_s=None)
    plan = make_plan(settings, where)
    assert plan.chosen.fits
    assert plan.flops.backward > plan.flops.forward > 0
    with torch.device("meta"):
        traced = trace_pass(settings, build_system(settings).train(), torch.float32, on_gpu=False)
    live, gradients, _ = traced.at_peak(MANY, keeps_gradients=True)
    system = untrained(settings, "cpu", 0).train()
    inputs, targets = example_batch(system, settings, MANY, "cpu")
    given = sum(one.untyped_storage().nbytes() for one in (*inputs.values(), *targets.values()))
    real = peak_bytes(lambda: system(inputs, targets)[0].backward(), torch.device("cpu"))
    assert live + gradients == pytest.approx(real + given, rel=0.1)


@each
def test_a_dry_run_of_it_needs_no_data(read, group, kind):
    assert dry_run(read(kind), group, steps=1).finite


@each
def test_what_it_can_not_do_with_is_refused_in_a_sentence(read, kind, monkeypatch):
    for name, one in MODEL_KINDS.items():
        monkeypatch.setitem(MODELS._kinds, name, one)
    assert OBJECTIVES[kind].refused
    for word, sentence in OBJECTIVES[kind].refused:
        with pytest.raises(SettingsError) as refused:
            read(kind, word)
        assert sentence in str(refused.value)
        assert "\n" not in str(refused.value)


@each
def test_it_trains_and_its_figures_stand_in_the_records(read, alone, kind):
    rows, task = records(alone[kind]), read(kind).task
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert all(row["grad_norm"] > 0 for row in rows)
    for name in (task.metrics[0].name, f"validation/{task.metrics[0].name}"):
        assert math.isfinite(rows[-1][name])
    for metric in task.metrics:
        if metric.unit == "share":
            assert all(0 <= (row.get(metric.name) or 0) <= 1 for row in rows)


@each
def test_left_and_gone_on_with_it_ends_with_the_same_bits(train_here, alone, kind, tmp_path):
    run = left(alone[kind], tmp_path / "run")
    assert train_here(kind, run, 3).step == STEPS
    assert_same(run, alone[kind])


@each
def test_two_processes_give_the_figures_of_one(alone, together, kind):
    assert_alike(together[kind], alone[kind])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_at_every_stage_it_does_the_same_and_goes_on_to_the_bit(empty, words_of, alone, processes, tmp_path):
    ways = {f"{kind}-{stage}": (kind, stage) for kind, stage in product(OBJECTIVES, range(4))}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_all(empty, [(whole / name, *words_of(*way)) for name, way in ways.items()], processes)
    for name in ways:
        left(whole / name, parts / name)
    train_all(empty, [(parts / name, *words_of(*way)) for name, way in ways.items()], processes)
    for name, (kind, _) in ways.items():
        assert_alike(whole / name, alone[kind])
        assert_same(parts / name, whole / name)


@pytest.mark.slow
def test_two_processes_in_bf16_at_stage_2_go_on_to_the_bit(empty, words_of, tmp_path):
    ways = {kind: [*words_of(kind, 2), "train.precision=bf16"] for kind in OBJECTIVES}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_all(empty, [(whole / kind, *words) for kind, words in ways.items()], 2)
    for kind in ways:
        left(whole / kind, parts / kind)
    train_all(empty, [(parts / kind, *words) for kind, words in ways.items()], 2)
    for kind in ways:
        assert_same(parts / kind, whole / kind)
