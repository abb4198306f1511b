"""Several objectives over one model, each with a weight that hangs on the step."""

import math
from typing import Literal

import pytest
import torch

from pipeline.tasks.contract import Metric, TaskSettings
from pipeline.tasks.registry import TASKS
from pipeline.tasks.several_settings import SeveralSettings, WeightedTaskSettings
from pipeline.tasks.task import Task
from pipeline.train.engine.build import build_engine
from pipeline.train.flops import training_flops
from pipeline.train.load import untrained
from pipeline.train.run_settings import RunSettings
from pipeline.train.settings import TrainSettings
from pipeline.train.system import example_batch
from tiny_shards import FEATURES, MODEL

PULL, PUSH = (
    {"task": {"kind": "mma", "group": 4}, "weight": 0.3},
    {"task": {"kind": "mma", "pairs": "both"}, "weight": 2},
)
TWO = {"pull": PULL, "push": PUSH}


def several(**tasks):
    return SeveralSettings.model_validate({"tasks": tasks})


def settings_of(**tasks):
    task = {"kind": "several", "tasks": tasks} if len(tasks) > 1 else next(iter(tasks.values()))["task"]
    return RunSettings.model_validate({"features": FEATURES, "model": MODEL | {"dropout": 0.0}, "task": task})


def gradients_of(system):
    return {name: parameter.grad for name, parameter in system.named_parameters()}


def alone(system, name, inputs, targets):
    """Loss, sums and gradients of one of the objectives over the same model."""
    own = {key.partition("/")[2]: target for key, target in targets.items() if key.startswith(f"{name}/")}
    system.zero_grad()
    loss, sums = system.task.tasks[name](system.model, inputs, own)
    loss.backward()
    return loss, sums, gradients_of(system)


def test_the_gradient_is_the_weighted_sum_of_those_of_each_alone():
    settings = settings_of(**TWO)
    system = untrained(settings, "cpu", 0)
    inputs, targets = example_batch(system, settings, 16, "cpu")
    found = {name: alone(system, name, inputs, targets) for name in TWO}
    system.zero_grad()
    loss, sums = system(inputs, targets)
    loss.backward()
    torch.testing.assert_close(loss, sum(TWO[name]["weight"] * found[name][0] for name in TWO))
    for parameter, gradient in gradients_of(system).items():
        parts = [
            TWO[name]["weight"] * one[parameter] for name, (_, _, one) in found.items() if one[parameter] is not None
        ]
        torch.testing.assert_close(gradient, sum(parts), msg=parameter)
    heads = [name for name in gradients_of(system) if "head" in name]
    assert len(heads) == 4
    # and each objective's own sums are those that it has alone
    torch.testing.assert_close(
        sums, torch.cat([torch.tensor([16 * loss.item(), 16]), found["pull"][1], found["push"][1]])
    )


def test_each_input_is_embedded_once_for_all():
    settings = settings_of(**TWO, more={"task": {"kind": "mma"}})
    system = untrained(settings, "cpu", 0).train()
    embedded, encoded = [], []
    for embedder in (system.model.visual_embedder, system.model.audio_embedder):
        embedder.register_forward_hook(lambda module, given, got: embedded.append(len(got)))
    system.model.encoder.register_forward_hook(lambda module, given, got: encoded.append(len(got[0])))
    inputs, targets = example_batch(system, settings, 8, "cpu")
    system(inputs, targets)[0].backward()
    assert embedded == [8, 8]
    assert encoded == [8, 16, 8]
    system(dict(inputs), targets)  # another micro-batch is embedded anew
    assert embedded == [8] * 4


def test_what_each_makes_besides_is_embedded_with_the_inputs_while_it_is_trained():
    looks = {name: {"task": {"kind": "looking"}} for name in ("look", "stare")}
    settings = settings_of(pull=PULL, **looks | {"later": {"task": {"kind": "looking"}, "from_step": 1}})
    system = untrained(settings, "cpu", 0).train()
    embedded = []
    for embedder in (system.model.visual_embedder, system.model.audio_embedder):
        embedder.register_forward_hook(lambda module, given, got: embedded.append(len(got)))
    system.task.begin_step(0)
    system(*example_batch(system, settings, 8, "cpu"))
    assert embedded == [24, 8]
    system.task.begin_step(1)
    system(*example_batch(system, settings, 8, "cpu"))
    assert embedded == [24, 8, 32, 8]


def test_figures_stand_apart_by_the_objectives_names():
    task = several(**TWO)
    assert task.sums[:4] == ("loss", "samples", "pull/loss", "pull/pairs")
    assert task.fields == ()
    names = [metric.name for metric in task.metrics]
    own = ["loss", "accuracy", "balanced_accuracy", "mismatch_share", "unpaired_samples", "ceiling"]
    assert names == ["loss", *(f"{task}/{name}" for task in ("pull", "push") for name in own)]
    chances = {metric.name: metric.chance for metric in task.metrics}
    assert (chances["loss"], chances["push/loss"], chances["push/accuracy"]) == (None, math.log(2), 0.5)
    totals = dict.fromkeys(task.sums, 0.0) | {"loss": 24.0, "samples": 16.0}
    totals |= {"push/loss": 8.0, "push/pairs": 16.0, "push/right": 12.0, "push/mismatches": 8.0, "push/left_out": 1.0}
    figures = task.figures(totals)
    assert set(figures) <= set(names)
    assert (figures["loss"], figures["push/loss"], figures["push/accuracy"]) == (1.5, 0.5, 0.75)
    assert (figures["push/unpaired_samples"], figures["push/mismatch_share"]) == (1, 0.5)
    # one that has not begun has none
    assert figures["pull/loss"] is figures["pull/accuracy"] is None


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, [1, 1, 1, 1, 1, 1]),
        ({"weight": 0.5, "from_step": 2}, [0, 0, 0.5, 0.5, 0.5, 0.5]),
        ({"until_step": 3}, [1, 1, 1, 0, 0, 0]),
        ({"weight": 2, "from_step": 1, "until_step": 5, "ramp_steps": 4}, [0, 0.5, 1, 1.5, 2, 0]),
        ({"ramp_steps": 1}, [1, 1, 1, 1, 1, 1]),
        ({"from_step": 1, "ramp_steps": 2}, [0, 0.5, 1, 1, 1, 1]),
    ],
)
def test_the_weight_is_a_function_of_the_step(settings, weights):
    one = WeightedTaskSettings.model_validate({"task": {"kind": "mma"}} | settings)
    assert [one.weight_at(step) for step in range(6)] == pytest.approx(weights)


def test_each_steps_loss_has_the_weights_of_the_step_and_what_has_none_is_not_computed():
    settings = settings_of(pull=PULL | {"until_step": 2}, push=PUSH | {"from_step": 1, "ramp_steps": 2})
    system = untrained(settings, "cpu", 0)
    inputs, targets = example_batch(system, settings, 8, "cpu")
    losses = {name: alone(system, name, inputs, targets)[0].detach() for name in TWO}
    torch.testing.assert_close(system(inputs, targets)[0], 0.3 * losses["pull"] + 2 * losses["push"])  # to count costs
    computed = []
    for name, task in system.task.tasks.items():
        task.head.register_forward_hook(lambda *_, name=name: computed.append(name))
    for step, (pull, push) in enumerate([(0.3, 0), (0.3, 1), (0, 2), (0, 2)]):
        system.task.begin_step(step)
        computed.clear()
        inputs, targets = example_batch(system, settings, 8, "cpu")
        loss, sums = system(inputs, targets)
        torch.testing.assert_close(loss, pull * losses["pull"] + push * losses["push"])
        active = ["pull"] * (pull > 0) + ["push"] * (push > 0)
        assert computed == active
        assert {name.partition("/")[0] for name in targets} == set(TWO)  # they are drawn before the step is known
        totals = dict(zip(settings.task.sums, sums.tolist(), strict=True))
        assert [totals[f"{name}/pairs"] for name in ("pull", "push")] == [8 * (pull > 0), 16 * (push > 0)]


class LookingSettings(TaskSettings):
    """An objective that hears nothing and needs no encoder."""

    kind: Literal["looking"] = "looking"

    @property
    def sums(self):
        return ("loss", "samples")

    @property
    def metrics(self):
        return (Metric("loss", "loss"),)

    def figures(self, totals):
        return {"loss": totals["loss"] / totals["samples"] if totals["samples"] else None}


class Looking(Task):
    def __init__(self, settings, model):
        super().__init__()
        self.settings = settings

    def targets(self, seed, positions, metadata, purpose):
        return {}

    def further(self, inputs, targets):
        return {"dimmed": {"frames": inputs["frames"] / 2}}

    def forward(self, model, inputs, targets):
        once = self.embed_once(model, inputs, targets)
        tokens = [once.embed(one)["visual"] for one in (inputs, once.further["dimmed"])]
        loss = torch.cat(tokens).float().square().mean()
        return loss, torch.stack([loss.detach(), torch.ones_like(loss)]) * len(inputs["frames"])


TASKS.add("looking", "test_several:LookingSettings", "test_several:Looking")
WAYS = [(0, "fp32", "none"), (1, "fp32", "none"), (1, "bf16", "cpu"), (2, "fp32", "none"), (2, "fp32", "cpu")]
WAYS += [(3, "fp32", "none"), (3, "bf16", "none"), (3, "fp32", "cpu")]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_only_an_objective_uses_that_has_not_begun_or_is_over_has_a_gradient_of_zeros(group, way):
    head = "task.tasks.pull.head.weight"
    settings = settings_of(pull=PULL | {"from_step": 1, "until_step": 2}, look={"task": {"kind": "looking"}})
    system = untrained(settings, "cpu", 0).train()
    names = [name for name in system.state_dict() if "audio_embedder" in name and name.endswith("weight")]
    embedder = next(name for name in names if system.state_dict()[name].dim() == 4)
    words = {"batch_size": 16, "learning_rate": 0.01, "weight_decay": 0.5, "clip_norm": 0}
    words |= dict(zip(("zero_stage", "precision", "offload"), way, strict=True))
    engine = build_engine(system, TrainSettings.model_validate(words), 8, group)
    before, moments = engine.full_weights(), []
    for step in range(3):
        system.task.begin_step(step)
        for _ in range(2):
            inputs, targets = example_batch(system, settings, 8, "cpu")
            engine.backward(engine.forward(inputs, targets)[0])
            engine.step()
        assert engine.was_applied
        held = [one for one in engine.fragments() if "exp_avg" in one.kinds]
        kept = {one.name: one.kinds["exp_avg"].float().norm().item() for one in held}
        moments.append([kept[name] for name in (head, embedder)])
        if step == 0:  # as of any gradient of zeros: it decays
            after = engine.full_weights()
            for name in (head, embedder):
                torch.testing.assert_close(after[name], before[name] * (1 - 0.01 * 0.5))
    not_begun, trained, over = moments
    assert not_begun == [0, 0]
    assert min(trained) > 0
    assert over == pytest.approx([0.9 * moment for moment in trained], rel=1e-5)


def test_what_an_objective_says_about_the_data_has_its_name():
    task = several(pull={"task": {"kind": "mma", "negatives": "unlike"}}, push={"task": {"kind": "mma"}})
    system = untrained(
        RunSettings.model_validate({"features": FEATURES, "model": MODEL, "task": task.model_dump()}), "cpu", 0
    )
    watch = system.task.data_watch()
    step = dict.fromkeys(task.sums, 0.0) | {"push/pairs": 64.0, "push/mismatches": 30.0}
    step |= {"pull/pairs": 14.0, "pull/mismatches": 7.0, "pull/left_out": 50.0}
    assert [watch.add(step, 64, whole=False) for _ in range(3)] == [None] * 3
    said = watch.add(step, 64, whole=False)
    assert said.startswith("task pull: 200 of the first 256 samples are in no pair that counts")
    assert "push" not in said
    assert task.label_aided == "label-aided: class names chose the mismatched pairs of training (task.negatives=unlike)"
    assert several(push={"task": {"kind": "mma"}}).label_aided is None


def test_the_group_is_the_least_that_fits_all():
    one = {"task": {"kind": "mma", "group": 4}}
    assert several(a=one, b={"task": {"kind": "mma", "group": 6}}).group == 12
    assert several(a=one).group == 4
    assert several(a=one, b={"task": several(c={"task": {"kind": "mma", "group": 10}}).model_dump()}).group == 20
    assert SeveralSettings.model_validate({"tasks": {"a": one}, "group": 8}).group == 8


def test_what_is_planned_counts_each_embedder_once_and_each_pass_through_the_encoder():
    one, two = (settings_of(**tasks) for tasks in ({"push": PUSH}, TWO))
    single, both = training_flops(one), training_flops(two)
    for part in ("visual_embedder", "audio_embedder"):
        assert both.parts[part] == single.parts[part]
    assert both.parts["encoder"] == single.parts["encoder"] * 3 // 2  # two pairs a sample, and one
    assert both.parts["head"] == single.parts["head"] * 3 // 2
