"""Where a run is shown in wandb, and that each run folder has a wandb run of its own."""

import json
import shutil

import pytest
import wandb

from cluster.wandb_mode import resolve_mode
from jobs.cli import main
from logged_run import log_steps, logged_run
from pipeline.errors import RunError
from pipeline.experiment import ExperimentSettings
from pipeline.settings.load import dump_settings, load_settings
from pipeline.train.run.sync import sync_run
from unprivileged import read_only
from wandb_server import WandbServer

OUTSIDE = {
    "WANDB_PROJECT": "myproject",
    "WANDB_ENTITY": "myteam",
    "WANDB_NAME": "job-123",
    "WANDB_RUN_GROUP": "sweep",
    "WANDB_TAGS": "a,b",
    "WANDB_NOTES": "why",
    "WANDB_JOB_TYPE": "train",
}


@pytest.fixture
def online(monkeypatch):
    wandb.teardown()
    with WandbServer() as server:
        quick = {"WANDB__FILE_STREAM_RETRY_WAIT_MAX_SECONDS": "0.2", "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "0.1"}
        for name, value in (server.environment() | quick).items():
            monkeypatch.setenv(name, value)
        yield server
        wandb.teardown()


def logged(run, first, last, **settings):
    """Log these steps as a process of the run would; what it said of wandb."""
    wandb.teardown()  # whose variables are read once a process
    log = logged_run(run, wandb=settings)
    experiment = ExperimentSettings.model_validate({"name": "logged", "train": {"wandb": settings}})
    (run / "config.yaml").write_text(dump_settings(experiment))
    log_steps(log, first, last)
    log.finish()
    return log.notes


def shown(server, run):
    variables = server.shown[(run / "wandb/run_id").read_text()]
    names = ("entity", "project", "displayName", "groupName", "tags", "notes", "jobType")
    return [variables[name] for name in names]


def steps(server, run):
    return [record["step"] for record in server.records((run / "wandb/run_id").read_text())]


def test_names_come_from_settings_then_from_where_the_run_was_then_from_wandbs_variables(online, tmp_path, monkeypatch):
    run, other, plain = tmp_path / "run", tmp_path / "other", tmp_path / "plain"
    for name, value in OUTSIDE.items():
        monkeypatch.setenv(name, value)
    (said,) = logged(run, 0, 4)
    assert shown(online, run) == ["myteam", "myproject", "job-123", "sweep", ["a", "b"], "why", "train"]
    assert said == f"wandb online: myteam/myproject, job-123 ({(run / 'wandb/run_id').read_text()})"
    notes = logged(other, 0, 4, project="mine", name="first", tags=["c"])
    assert shown(online, other) == ["myteam", "mine", "first", "sweep", ["c"], "why", "train"]
    assert "WANDB_PROJECT=myproject is not followed: train.wandb.project is mine" in notes
    assert "WANDB_TAGS=a,b is not followed: train.wandb.tags is ('c',)" in notes
    for name in OUTSIDE:
        monkeypatch.delenv(name)
    logged(run, 4, 8)  # stays where it is, whatever the shell
    assert shown(online, run)[:3] == ["myteam", "myproject", "job-123"]
    monkeypatch.setenv("WANDB_PROJECT", "another")
    notes = logged(run, 8, 12)
    assert shown(online, run)[:2] == ["myteam", "myproject"]
    assert "WANDB_PROJECT=another is not followed: this run's wandb run has myproject" in notes
    assert steps(online, run) == [2, 4, 6, 8, 10, 12]
    monkeypatch.delenv("WANDB_PROJECT")
    logged(plain, 0, 4)
    assert shown(online, plain)[:4] == [None, "gavt", "logged", None]


def test_a_run_that_names_another_place_moves_there_with_all_records(online, tmp_path):
    run = tmp_path / "run"
    logged(run, 0, 4, project="one")
    notes = logged(run, 4, 8, project="two")
    assert "the wandb run was in team/one and goes on in team/two, with all records so far" in notes
    assert shown(online, run)[1] == "two"
    assert steps(online, run) == [2, 4, 6, 8]


def test_an_offline_run_is_synced_to_what_was_named_when_it_was_trained(online, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    for name, value in OUTSIDE.items():
        monkeypatch.setenv(name, value)
    (said,) = logged(run, 0, 4)
    assert said.endswith(f"; gavt sync {run} sends it")
    for name in OUTSIDE:
        monkeypatch.delenv(name)
    wandb.teardown()
    assert sync_run(str(run)) == 2
    assert shown(online, run) == ["myteam", "myproject", "job-123", "sweep", ["a", "b"], "why", "train"]


def test_a_wrong_entity_is_said_with_its_setting_and_another_may_be_named_at_sync(
    online, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    online.refused["wrong"] = (403, "permission denied")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged(run, 0, 4, entity="wrong")
    wandb.teardown()
    message = (
        "no permission to write to wrong/gavt .permission denied.; gavt sync RUN --entity ENTITY --project PROJECT"
    )
    with pytest.raises(RunError, match=message):
        sync_run(str(run))
    wandb.teardown()
    with pytest.raises(SystemExit, match="0"):
        main(["sync", str(run), "--entity", "right", "--project", "there", "--json"])
    out, shown_words = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["sent"] == 2
    assert "wandb online: right/there, logged" in shown_words
    assert shown(online, run)[:2] == ["right", "there"]
    wandb.teardown()
    assert sync_run(str(run)) == 0  # where it is from now on, though the settings had another
    assert shown(online, run)[:2] == ["right", "there"]
    assert load_settings(str(run / "config.yaml"), ExperimentSettings).settings.train.wandb.entity == "right"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            (403, "permission denied"),
            "wandb: no permission to write to team/gavt .*train.wandb.entity and train.wandb.p",
        ),
        ((404, "project not found"), "wandb: there is no team/gavt .*train.wandb.entity and train.wandb.project name"),
        ((401, "user is not logged in"), "wandb does not accept the account .*WANDB_API_KEY"),
        ((400, "run name too long"), "wandb did not take the run for team/gavt .run name too long"),
        ((500, "out of order"), "wandb can't be reached"),
    ],
)
def test_each_refusal_of_wandb_has_its_own_sentence(online, tmp_path, monkeypatch, answer, sentence):
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2")
    online.refused["team"] = answer
    with pytest.raises(RunError, match=f"train.wandb.mode online: {sentence}"):
        logged(tmp_path / "run", 0, 4, entity="team")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"WANDB_API_KEY": "short"}, "wandb does not accept the account .*API key must have"),
        ({"WANDB_PROJECT": "a/b"}, "wandb does not take the settings .*Invalid project name 'a/b'"),
        ({"WANDB_RUN_ID": "a/b"}, "wandb does not take the settings .*Run ID cannot contain"),
    ],
)
def test_a_variable_that_wandb_does_not_take_is_a_sentence(online, tmp_path, monkeypatch, variables, sentence):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=sentence):
        logged(tmp_path / "run", 0, 4)


def test_a_copied_run_folder_gets_a_wandb_run_of_its_own_and_a_moved_one_keeps_its(online, tmp_path):
    first, copy, moved = tmp_path / "a", tmp_path / "b", tmp_path / "moved"
    logged(first, 0, 4)
    shutil.copytree(first, copy)
    notes = logged(copy, 4, 8)
    assert notes[0].startswith(f"this folder is a copy of {first}, which keeps the wandb run ")
    logged(first, 4, 12)
    assert steps(online, first) == [2, 4, 6, 8, 10, 12]
    assert steps(online, copy) == [2, 4, 6, 8]
    assert len(logged(copy, 8, 10)) == 1  # said once
    copy.rename(moved)
    assert len(logged(moved, 10, 12)) == 1
    assert steps(online, moved) == [2, 4, 6, 8, 10, 12]
    assert len(online.history) == 2
    (tmp_path / "link").symlink_to(first)
    assert len(logged(tmp_path / "link", 12, 14)) == 1
    assert len(online.history) == 2


def test_an_offline_copy_has_all_records_in_its_own_wandb_run(online, tmp_path, monkeypatch):
    first, copy = tmp_path / "a", tmp_path / "b"
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged(first, 0, 4)
    shutil.copytree(first, copy)
    logged(copy, 4, 8)
    logged(first, 4, 6)
    for run, sent in ((first, 3), (copy, 4)):
        wandb.teardown()
        assert sync_run(str(run)) == sent
    assert steps(online, copy) == [2, 4, 6, 8]
    assert steps(online, first) == [2, 4, 6]


def test_the_id_that_a_new_run_is_given_is_its_own_and_no_id_of_another(online, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "chosen")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "elsewhere"))
    run = tmp_path / "run"
    notes = logged(run, 0, 4)
    assert notes[-1] == f"WANDB_DIR={tmp_path}/elsewhere is not followed: wandb's files lie in the run folder"
    assert (run / "wandb/run_id").read_text() == "chosen"
    logged(run, 4, 8)
    assert steps(online, run) == [2, 4, 6, 8]
    with pytest.raises(RunError, match="expected a wandb run of its own, found that chosen in team/gavt has records"):
        logged(tmp_path / "other", 0, 4)


def test_a_run_folder_that_may_not_be_written_to_is_not_synced_and_nothing_is_sent(online, tmp_path, capsys):
    run = tmp_path / "run"
    logged(run, 0, 4, mode="offline")
    online.history.clear()
    wandb.teardown()
    with read_only(run), pytest.raises(SystemExit, match="2"):
        main(["sync", str(run), "--json"])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"gavt: {run}: not allowed to write to it")
    assert not online.history


def test_wandb_is_off_where_its_older_variable_says_so(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_DISABLED", "true")
    assert resolve_mode("online") == "disabled"
    monkeypatch.setenv("WANDB_DISABLED", "false")
    assert resolve_mode("online") == "online"
