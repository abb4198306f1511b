"""`gavt compare`: curves beside each other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import main
from made_up_task import MadeUpSettings
from unprivileged import read_only


@pytest.fixture
def write_run(tmp_path):
    def write(name, losses, **train):
        run = tmp_path / name
        run.mkdir()
        (run / "config.yaml").write_text(json.dumps({"name": name, "train": train}))
        records = [{"step": 2 * number, "loss": loss, "accuracy": 0.5} for number, loss in enumerate(losses, 1)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return str(run)

    return write


def compare(*words):
    with pytest.raises(SystemExit) as ended:
        main(["compare", *words])
    return ended.value.code or 0


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_differences_are_relative_and_say_where_they_are(write_run, capsys):
    runs = [write_run("a", [1.0, 0.8, 0.5]), write_run("b", [1.0, 0.4, 0.45], zero_stage=3)]
    assert compare(*runs, "--json") == 0
    found = last_json(capsys)
    loss = found["differences"][runs[1]][0]
    assert loss["curve"] == "loss"
    assert loss["largest"] == pytest.approx(0.5)
    assert loss["mean"] == pytest.approx((0 + 0.5 + 0.1) / 3)
    assert (loss["steps"], loss["largest_at"], loss["parts_at"]) == (3, 4, 4)
    assert found["settings"]["train.zero_stage"] == [1, 3]
    assert "train.steps" not in found["settings"]


def test_which_of_the_runs_are_label_aided_is_said(write_run, capsys):
    runs = [write_run("a", [1.0]), write_run("b", [1.0])]
    config = json.loads(Path(runs[1], "config.yaml").read_text())
    Path(runs[1], "config.yaml").write_text(json.dumps(config | {"task": {"kind": "mma", "negatives": "unlike"}}))
    assert compare(*runs, "--json") == 0
    said = capsys.readouterr()
    assert f"{runs[1]}: label-aided: class names chose" in said.err
    aided = json.loads(said.out.splitlines()[-1])["label_aided"]
    assert aided[runs[0]] is None
    assert aided[runs[1]].startswith("label-aided: class names chose")


def test_outside_the_tolerance_is_exit_code_1(write_run, capsys):
    runs = [write_run("a", [1.0, 0.8]), write_run("b", [1.0, 0.79])]
    assert compare(*runs, "--tolerance", "0.02") == 0
    assert compare(*runs, "--tolerance", "0.01") == 1
    assert "outside the tolerance of 0.01: loss by 1.25e-02" in capsys.readouterr().out


def test_every_run_is_compared_with_the_first(write_run, capsys):
    runs = [write_run("a", [1.0]), write_run("b", [1.0]), write_run("c", [0.5])]
    assert compare(*runs, "--tolerance", "0.1", "--json") == 1
    found = last_json(capsys)["differences"]
    assert found[runs[1]][0]["parts_at"] is None
    assert found[runs[2]][0]["largest"] == pytest.approx(0.5)


def test_a_step_that_one_run_left_out_is_outside_any_tolerance(write_run, capsys):
    runs = [write_run("a", [1.0, None]), write_run("b", [1.0, 0.8])]
    assert compare(*runs, "--tolerance", "100", "--json") == 1
    assert last_json(capsys)["differences"][runs[1]][0]["largest"] is None


def test_a_torn_last_line_is_passed_over(write_run, tmp_path):
    runs = [write_run("a", [1.0, 0.8]), write_run("b", [1.0, 0.8])]
    with (tmp_path / "b/metrics.jsonl").open("a") as lines:
        lines.write('{"step": 6, "lo')
    assert compare(*runs, "--tolerance", "0") == 0


def test_the_curves_are_drawn(write_run, tmp_path):
    picture = tmp_path / "new/curves.png"
    assert compare(write_run("a", [1.0, 0.8]), write_run("b", [1.0, 0.9]), "--plot", str(picture)) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_place_where_no_curves_can_be_drawn_is_said_first(write_run, tmp_path, capsys):
    (tmp_path / "kept").mkdir()
    with read_only(tmp_path / "kept"):
        assert compare(write_run("a", [1.0]), write_run("b", [1.0]), "--plot", str(tmp_path / "kept/c.png")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"gavt: {tmp_path}/kept: not allowed to write to it")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{a}"], "expected two runs or more, found 1"),
        (["{a}", "{tmp}/none"], "none: expected a run folder with metrics.jsonl, found none"),
        (["{a}", "{a}", "--plot", "curves.txt"], "expected a name that ends in .png, .svg or .pdf"),
        (["{a}", "{empty}"], "expected records of training, found none"),
        (["{a}", "{torn}"], "line 1: expected a JSON object with a step and numbers, found 'nothing'"),
        (["{a}", "{words}"], "metrics.jsonl: step 2: expected numbers, found loss 'low'"),
        (["{a}", "{a}", "--plot", "{words}/metrics.jsonl/c.png"], "metrics.jsonl: expected a folder, or room for one"),
    ],
)
def test_wrong_input_is_exit_code_2_and_a_sentence(write_run, tmp_path, capsys, words, message):
    places = {"a": write_run("a", [1.0]), "tmp": tmp_path, "empty": write_run("empty", []), "torn": write_run("t", [])}
    places["words"] = write_run("w", ["low"])
    (tmp_path / "t/metrics.jsonl").write_text("nothing\n")
    assert compare(*(word.format(**places) for word in words)) == 2
    assert message in capsys.readouterr().err


def test_runs_without_a_step_in_common_are_not_alike_with_or_without_a_tolerance(write_run, tmp_path, capsys):
    runs = [write_run("a", [1.0]), write_run("b", [1.0])]
    (tmp_path / "b/metrics.jsonl").write_text('{"step": 3, "loss": 1.0}\n')
    assert compare(*runs) == 1
    assert f"{runs[1]}: no loss to compare with {runs[0]} at any step" in capsys.readouterr().out
    assert compare(*runs, "--tolerance", "1", "--json") == 1
    assert last_json(capsys)["ok"] is False


def test_a_run_that_ended_early_is_not_alike_and_it_is_said_which_steps_it_lacks(write_run, capsys):
    runs = [write_run("a", [1.0] * 50), write_run("b", [1.0] * 5)]
    for first, other in (runs, runs[::-1]):
        assert compare(first, other, "--tolerance", "1e-6", "--json") == 1
        found = last_json(capsys)
        assert found["ok"] is False
        assert f"{runs[1]}: no loss at 45 steps from 12 to 100 that {runs[0]} has" in found["lacking"][other]
    assert compare(*runs) == 0  # nobody asked for a verdict
    said = capsys.readouterr().out
    assert "no loss at 45 steps from 12 to 100" in said
    assert compare(*runs, "--json") == 0
    assert last_json(capsys)["ok"] is None


@pytest.mark.parametrize("record", ['{"step": 2}', '{"step": 2, "loss": null}', '{"step": 2, "accuracy": 0.5}'])
def test_runs_without_a_loss_in_both_are_not_alike(write_run, tmp_path, record, capsys):
    runs = [write_run("a", [1.0]), write_run("b", [1.0]), write_run("c", [1.0])]
    for name in "bc":
        (tmp_path / name / "metrics.jsonl").write_text(record + "\n")
    assert compare(*runs[:2], "--tolerance", "1e9", "--json") == 1
    assert last_json(capsys)["ok"] is False
    assert compare(*runs[1:], "--tolerance", "0") == 1  # the same nothing in both
    assert "no loss to compare with" in capsys.readouterr().out


def test_a_curve_that_only_one_run_has_is_said(write_run, tmp_path, capsys):
    runs = [write_run("a", [1.0]), write_run("b", [1.0])]
    (tmp_path / "a/metrics.jsonl").write_text('{"step": 2, "loss": 1.0, "accuracy": 0.5, "validation/loss": 2.0}\n')
    assert compare(*runs, "--tolerance", "1") == 1
    assert f"{runs[1]}: no validation/loss, which {runs[0]} has at step 2" in capsys.readouterr().out


def test_steps_that_one_run_was_not_set_to_record_are_not_lacking(write_run, capsys):
    runs = [write_run("a", [1.0] * 50, log_every=2, steps=100), write_run("b", [1.0] * 10, log_every=10, steps=100)]
    lines = "".join(f'{{"step": {step}, "loss": 1.0, "accuracy": 0.5}}\n' for step in range(10, 101, 10))
    (Path(runs[1]) / "metrics.jsonl").write_text(lines)
    assert compare(*runs, "--tolerance", "0") == 0
    (Path(runs[1]) / "metrics.jsonl").write_text(lines[: lines.index("\n") + 1])
    assert compare(*runs, "--tolerance", "0") == 1
    assert f"no loss at 9 steps from 20 to 100 that {runs[0]} has" in capsys.readouterr().out


@pytest.fixture
def write_made_up(tmp_path):
    def write(name, kind, **curves):
        run = tmp_path / name
        run.mkdir()
        (run / "config.yaml").write_text(json.dumps({"name": name, "task": {"kind": kind}, "train": {"log_every": 1}}))
        rows = [dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)]
        lines = [
            json.dumps({"step": step, "samples_per_s": 1.0 / step} | row) + "\n" for step, row in enumerate(rows, 1)
        ]
        (run / "metrics.jsonl").write_text("".join(lines))
        return str(run)

    return write


def test_metrics_that_nobody_has_seen_before_are_compared_and_losses_are_judged(write_made_up, tmp_path, capsys):
    alike = {"nce": [1.0, 0.5], "reachable": [0.9, 0.9], "validation/nce": [1.0, 0.8]}
    kind = MadeUpSettings().kind
    runs = [
        write_made_up("a", kind, **alike, recall_at_5=[0.1, 0.2]),
        write_made_up("b", kind, **alike, recall_at_5=[0.1, 0.4]),
    ]
    assert compare(*runs, "--tolerance", "0.01", "--plot", str(tmp_path / "c.png"), "--json") == 0  # a share is no loss
    rows = last_json(capsys)["differences"][runs[1]]
    assert [(row["curve"], row["judged"], row["largest"]) for row in rows] == [
        ("nce", True, 0.0),
        ("recall_at_5", False, 0.5),
        ("reachable", False, 0.0),
        ("validation/nce", True, 0.0),
    ]
    other = write_made_up("c", kind, **alike | {"validation/nce": [1.0, 0.6]}, recall_at_5=[0.1, 0.2])
    assert compare(runs[0], other, "--tolerance", "0.01") == 1
    assert "outside the tolerance of 0.01: validation/nce by 2.50e-01" in capsys.readouterr().out


def test_what_is_not_shown_may_be_in_one_of_the_runs_alone(write_made_up, capsys):
    runs = [write_made_up("a", "made_up", nce=[1.0], reachable=[1.0]), write_made_up("b", "made_up", nce=[1.0])]
    assert compare(*runs, "--tolerance", "0") == 0
    other = write_made_up("c", "made_up", nce=[1.0], recall_at_5=[1.0])
    assert compare(runs[0], other, "--tolerance", "0") == 1
    assert f"{runs[0]}: no recall_at_5, which {other} has at step 1" in capsys.readouterr().out


def test_losses_of_a_task_that_is_not_known_here_are_told_by_their_names(write_made_up, tmp_path, capsys):
    runs = [
        write_made_up(name, "elsewhere", pull_loss=[1.0, low], hits=[0.1, 0.2])
        for name, low in (("a", 0.5), ("b", 0.6))
    ]
    assert compare(*runs, "--tolerance", "0.01", "--plot", str(tmp_path / "c.png")) == 1
    said = capsys.readouterr().out
    assert f"{runs[0]}/config.yaml: task.kind: expected '" in said
    assert "its losses are told by their names" in said
    assert "name: a | b" in said
    assert "outside the tolerance of 0.01: pull_loss by 1.67e-01" in said
    assert "samples_per_s" not in said


def test_a_task_from_another_package_is_known_where_its_module_is_named(write_made_up):
    runs = [write_made_up(name, "made_up", nce=[1.0, 0.5], recall_at_5=[0.1, 0.2]) for name in "ab"]
    tests = Path(__file__).parents[1]
    place = {"GAVT_EXTENSIONS": "made_up_task", "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(tests)])}
    command = [sys.executable, "-m", "jobs.cli", "compare", *runs, "--tolerance", "0", "--json"]
    done = subprocess.run(command, env=os.environ | place, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "told by their names" in done.stderr) == (0, False), done.stderr
    assert json.loads(done.stdout)["ok"] is True
