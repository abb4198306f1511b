"""Secrets in sources and in settings of downloads are in nothing that is written or said, and the work goes on all the
same."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from barcode_video import write_video
from faulty_proxy import Fault, FileServer
from jobs.cli import main
from tiny_training import Command

SECRETS = ("geheim1", "geheim2", "geheim3", "geheim4", "geheim5", "geheim6")
RECIPE = ["prepare.min_clip_s=1", "prepare.frame_rate_hz=1", "prepare.audio_samples=11025", "prepare.rows_per_shard=1"]
FETCH = {
    "attempts": 1,
    "user_agent": "geheim4",
    "yt_dlp_options": {"password": "geheim5", "proxy": "socks5://me:geheim6@127.0.0.1:9"},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "served").mkdir()
    write_video(tmp_path / "served/0.mp4", 2)
    write_video(tmp_path / "served/1.mp4", 2)
    with FileServer(tmp_path / "served") as running:
        yield running


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, and every file in its tars."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield str(file.relative_to(folder)), file.read_bytes()
            if file.suffix == ".tar":
                with tarfile.open(file) as tar:
                    for member in tar:
                        content = tar.extractfile(member)
                        yield f"{file.name}/{member.name}", content.read() if content else b""


def assert_no_secrets(folder: Path) -> None:
    found = list(contents(folder))
    assert found
    for name, content in found:
        for secret in SECRETS:
            assert secret.encode() not in content, name
            assert secret not in name


def write_list(path: Path, server: FileServer, signature: str = "geheim2") -> Path:
    host = server.url.removeprefix("http://")
    rows = [
        {"source": f"http://me:geheim1@{host}/{name}?X-Amz-Signature={signature}&v=1&token=geheim3"}
        for name in ("0.mp4", "1.mp4", "gone.mp4")
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def prepare(*words: object, code: int = 0) -> None:
    options = [word for setting in RECIPE for word in ("--set", setting)]
    config = Path(str(words[0])).parent / "fetch.yaml"
    config.write_text(json.dumps({"fetch": FETCH}), encoding="utf-8")
    gavt("prepare", *words[1:], "--local", "--config", config, *options, code=code)


def gavt(*words: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert (left.value.code or 0) == code


def test_no_file_and_no_word_of_prepare_has_a_secret_of_its_sources(
    server: FileServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    rows = write_list(tmp_path / "list.jsonl", server)
    shards = tmp_path / "out/shards"
    prepare(tmp_path / "x", rows, "--out", shards, "--json", "--wandb", "p")
    assert_no_secrets(tmp_path / "out")
    ledger = (shards / "ledger.jsonl").read_text(encoding="utf-8")
    assert "X-Amz-Signature=***&v=1&token=***" in ledger
    assert '"missing"' in ledger
    assert len({request.headers.get("authorization") for request in server.requests}) == 1
    assert server.requests[0].headers["user-agent"] == "geheim4"
    said = "".join(capfd.readouterr())
    assert not any(secret in said for secret in SECRETS)


def test_what_is_missing_is_made_with_the_list_given_again_also_with_a_fresh_signature(
    server: FileServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows, shards = write_list(tmp_path / "list.jsonl", server), tmp_path / "shards"
    prepare(tmp_path / "x", rows, "--out", shards)
    whole = {name: content for name, content in contents(shards) if name.endswith(".tar")}
    for name in ("shard-000001.json", "shard-000001.tar", "dataset.json"):
        (shards / name).unlink()
    capfd.readouterr()
    prepare(tmp_path / "x", "--out", shards, code=2)
    assert "expected the list again" in capfd.readouterr().err
    before = len(server.requests)
    write_list(rows, server, "fresh")
    prepare(tmp_path / "x", rows, "--out", shards)
    assert [request.path for request in server.requests[before:]] == ["/1.mp4?X-Amz-Signature=fresh&v=1&token=geheim3"]
    assert {name: content for name, content in contents(shards) if name.endswith(".tar")} == whole
    assert_no_secrets(shards)


def test_retry_needs_the_list_and_asks_for_the_true_source(
    server: FileServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows, shards = write_list(tmp_path / "list.jsonl", server), tmp_path / "shards"
    server.always("/1.mp4?X-Amz-Signature=geheim2&v=1&token=geheim3", Fault(status=503))
    prepare(tmp_path / "x", rows, "--out", shards)
    server.always("/1.mp4?X-Amz-Signature=geheim2&v=1&token=geheim3", Fault())
    prepare(tmp_path / "x", "--out", shards, "--retry", "transient", code=2)
    assert json.loads((shards / "dataset.json").read_text(encoding="utf-8"))["failed"] == 2
    prepare(tmp_path / "x", rows, "--out", shards, "--retry", "transient")
    assert json.loads((shards / "dataset.json").read_text(encoding="utf-8"))["failed"] == 1
    assert_no_secrets(shards)


def test_a_plan_without_secrets_still_goes_on_by_itself(server: FileServer, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    (tmp_path / "list.txt").write_text(f"{server.url}/0.mp4\n{server.url}/1.mp4\n", encoding="utf-8")
    prepare(tmp_path / "x", tmp_path / "list.txt", "--out", shards)
    for name in ("shard-000001.json", "dataset.json"):
        (shards / name).unlink()
    prepare(tmp_path / "x", "--out", shards)
    assert (shards / "dataset.json").exists()


def test_lists_that_are_written_keep_the_sources_for_their_owner_alone(
    server: FileServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = write_list(tmp_path / "list.jsonl", server)
    rows.write_text(rows.read_text(encoding="utf-8") * 2 + '{"source": 3}\n', encoding="utf-8")
    out = tmp_path / "own.csv"
    gavt("manifest", "convert", rows, "--out", out, "--skip-wrong", "--json")
    assert "geheim2" in out.read_text(encoding="utf-8")
    assert out.stat().st_mode & 0o077 == 0
    gavt("manifest", "check", rows, "--json", code=2)
    said = "".join(capfd.readouterr())
    assert "repeated" in said
    assert not any(secret in said for secret in SECRETS)


def test_a_run_and_its_exports_have_no_settings_of_downloads(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(tmp_path)
    settings = command.config.read_text(encoding="utf-8") + f"fetch: {json.dumps(FETCH)}\n"
    command.config.write_text(settings, encoding="utf-8")
    run = tmp_path / "out/run"
    out, err = command.finish(run, "train.steps=2", "fetch.cookies=/home/me/geheim1", wandb="offline")
    assert not any(secret in out + err for secret in SECRETS)
    gavt("checkpoint", "export", run, "--out", tmp_path / "out/export")
    gavt("report", run)
    assert (run / "wandb").is_dir()
    assert_no_secrets(tmp_path / "out")
    assert b"max_height" not in (run / "config.yaml").read_bytes()
    capfd.readouterr()
    gavt("config", "show", command.config, "fetch.yt_dlp_options.videopassword=geheim2", "--json")
    said = "".join(capfd.readouterr())
    assert "fetch.yt_dlp_options.password" in said
    assert "socks5://***@127.0.0.1:9" in said
    assert not any(secret in said for secret in SECRETS if secret != "geheim4")  # which no name tells to be one
