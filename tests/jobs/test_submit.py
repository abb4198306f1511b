"""gavt submit and the verbs that look after a job: words go to the verb, and what is wrong is said at once."""

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.exit_codes import IN_USE
from cluster.launchers.contract import Phase, PlaceState
from jobs import cli
from jobs.submit import seconds
from small_job import wait_until

CONFIG = str(Path(__file__).parents[2] / "configs" / "experiments" / "quickstart.yaml")
WORDS = ("submit", "train", CONFIG, "data.train=shards/none", "--set", "train.steps=7", "--to", "local")


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("GAVT_SITE", raising=False)


def gavt(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_a_dry_run_shows_what_would_be_submitted_and_writes_nothing(capsys, tmp_path):
    code, out, _ = gavt(capsys, *WORDS, "--run", "r u n", "--nproc", "2", "--dry-run", "--json")
    record = json.loads(out.splitlines()[-1])["record"]
    assert code == 0
    settings = f"{record['folder']}/jobs/{record['name']}/settings.yaml"
    assert record["words"] == ["train", settings, f"--run={tmp_path}/r u n"]
    assert record["given"] == ["train", CONFIG, "data.train=shards/none", "--set", "train.steps=7", "--run", "r u n"]
    assert record["resources"]["processes_per_node"] == 2
    assert record["folder"] == str(tmp_path / "r u n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--rn", "x"), "No such option: --rn"),
        (("model.widht=3",), "did you mean 'width'?"),
        (("--time", "4h"), "--time: expected none, since this machine has no queue"),
        (("--nodes", "2"), "--nodes: expected 1 on this machine, found 2"),
        (("--partition", "gpus"), "--partition: expected none, since this machine has no queue, found gpus"),
        (("--gpus-per-node", "4096", "--nproc", "1"), "--gpus-per-node: expected at most this machine's"),
        (("--time", "soon"), "expected a time such as 90m"),
        (("data.train=https://me:secret@host/x",), "a word of the command holds a secret"),
        (("--site", "site.yaml"), "site.yaml: no such settings file"),
    ],
)
def test_what_is_wrong_ends_with_a_sentence_and_no_job(capsys, tmp_path, more, sentence):
    code, _, err = gavt(capsys, *WORDS, *more)
    assert code == 2
    assert sentence in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_secret_in_a_sites_file_is_refused(capsys, tmp_path):
    (tmp_path / "site.yaml").write_text("environment: {WANDB_API_KEY: abc}\n")
    code, _, err = gavt(capsys, *WORDS, "--site", "site.yaml")
    assert code == 2
    assert "no secret, found WANDB_API_KEY" in err
    assert "abc" not in err


def test_a_run_that_another_process_trains_in_is_refused(capsys, tmp_path):
    from pipeline.train.run.run_folder import locked

    with locked(tmp_path / "run"):
        code, _, err = gavt(capsys, *WORDS, "--run", "run")
    assert (code, err) == (IN_USE, f"gavt: {tmp_path}/run: another process is training in this run folder\n")
    assert not (tmp_path / "run" / "jobs").exists()


def test_a_job_is_found_shown_and_resumed_by_its_name_its_folder_and_what_it_works_on(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-aws")
    config = tmp_path / "c o n f.yaml"
    config.write_text("prepare: {frame_height: 128}\n")
    run = "r'u n;$(touch x)\""
    words = ("submit", "prepare", "none.jsonl", "--out", run, "--to", "local", "--config", config.name)
    _, out, _ = gavt(capsys, *words, "--json")
    job = json.loads(out.splitlines()[-1])
    config.write_text("prepare: {frame_hight: 256}\n")  # which the job does not see

    def state(word: str) -> dict:
        return json.loads(gavt(capsys, "status", word, "--json")[1].splitlines()[-1])

    wait_until(lambda: state(run)["state"] == "failed", 120)
    for word in (job["job"], job["folder"], run):
        assert state(word)["attempts"][0]["exit_code"] == 2
    assert "none.jsonl" in gavt(capsys, "logs", run)[1]
    assert state(run)["settings"] == f"{job['folder']}/settings.yaml"
    assert "frame_height: 128" in Path(job["folder"], "settings.yaml").read_text()
    assert (
        shlex.join(["gavt", "prepare", "none.jsonl", "--out", run, "--config", config.name])
        in gavt(capsys, "status", run)[1]
    )
    config.write_text("{}")
    assert job["job"] in gavt(capsys, "jobs")[1]
    code, _, err = gavt(capsys, "logs", run, "--rank", "3")
    assert (code, "said something in attempt 1 (1 did, from 0 to 0), found 3" in err) == (2, True)
    assert gavt(capsys, "resume", run)[0] == 0
    code, _, err = gavt(capsys, *words)
    assert code == 2
    assert "works on it and has not ended" in err
    assert gavt(capsys, "cancel", run)[0] == 0
    assert state(run)["state"] in ("cancelled", "failed")  # as it was faster
    texts = [file.read_text() for file in (tmp_path / run / "jobs").rglob("*") if file.is_file()]
    assert not any("a-secret-of-aws" in text for text in texts)
    assert not (tmp_path / "x").exists()


def test_a_resume_waits_for_a_place_that_is_letting_go_of_a_job_that_has_ended(capsys, monkeypatch):
    said, submitted = [Phase.RUNNING, Phase.RUNNING, Phase.GONE, Phase.RUNNING], []
    place = SimpleNamespace(
        state=lambda job: PlaceState(said.pop(0), "as it says"), check=lambda record: None, submit=submitted.append
    )
    job = SimpleNamespace(
        name="job", record=SimpleNamespace(place=None), outcome=SimpleNamespace(ending="failed"), attempts=list,
        check_owner=lambda: None, reopen=lambda: None, note_submission=lambda *_: SimpleNamespace(id="1@here"),
    )  # fmt: skip
    monkeypatch.setattr("jobs.known_jobs.find_job", lambda word: job)
    monkeypatch.setattr("cluster.launchers.places.launcher_of", lambda *_: place)
    code, out, _ = gavt(capsys, "resume", "job")
    assert (code, out) == (0, "job: submitted again as 1@here\n")
    assert (said, submitted) == ([Phase.RUNNING], [job])
    job.outcome = None  # it may go on of itself
    code, _, err = gavt(capsys, "resume", "job")
    assert (code, "expected a job that has stopped, found it running: as it says" in err) == (2, True)
    assert (said, submitted) == ([], [job])


def test_what_is_no_job_is_a_sentence(capsys):
    for verb in ("status", "logs", "cancel", "resume"):
        code, _, err = gavt(capsys, verb, "nothing")
        assert (code, "expected the name or the folder of a job" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("90s", 90),
        ("90m", 5400),
        ("4h", 14400),
        ("2d", 172800),
        ("30", 1800),
        ("1:30", 90),
        ("4:00:00", 14400),
        ("2-12", 216000),
        ("1-0:30", 88200),
        ("2-12:00:30", 216030),
    ],
)
def test_times_are_read_as_slurm_reads_them(text, found):
    assert seconds(text) == found
