"""The page of `gavt demo`: a video dropped on it, its maps, and the sound of a place, in a real browser."""

import base64
import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from browser import BROWSER, Browser
from pipeline import api as gavt
from pipeline.demo.server import PIECE_S, Demo, create_app
from pipeline.evaluate.overlay.track import unit_range
from small_video import write_video
from tiny_run import tiny_separator, write_run

TOKEN = "of-this-test"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """With a video of two pieces in it: `long`."""
    folder = tmp_path_factory.mktemp("demo")
    write_run(folder / "run", tiny_separator())
    write_video(folder / "long.mp4", times_s=[number / 10 for number in range(120)], sound_s=12.0)
    (folder / "long.mp4").rename(folder / "long")
    return Demo(gavt.load(folder / "run", device="cpu", overrides=["evaluate.geometry=squash"]), folder)


@pytest.fixture(scope="module")
def address(demo: Demo) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(demo, TOKEN), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/{TOKEN}"
        server.should_exit = True
        thread.join()


def ask(url: str, content: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, content, headers), timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def heat_of(found: dict[str, Any]) -> np.ndarray[Any, Any]:
    values = np.frombuffer(base64.b64decode(found["heat"]), np.uint8)
    return values.reshape(-1, len(found["rows"]), len(found["columns"]))


def test_the_pieces_of_a_video_have_the_maps_of_the_whole(demo: Demo) -> None:
    whole = demo.model.localize(demo.folder / "long", demo.every_s)
    pieces = [demo.maps("long", piece) for piece in (0, 1)]
    assert [time for piece in pieces for time in piece["times_s"]] == pytest.approx(whole.times_s.tolist())
    expected = np.stack([unit_range(one) for one in whole.maps])
    inner = slice(2, -6)  # at the ends sound is cut a little earlier
    found = np.concatenate([heat_of(piece) for piece in pieces]) / 255
    assert np.abs(found[inner] - expected[inner]).mean() < 0.02
    for name in ("square", "rows", "columns"):
        assert pieces[0][name] == getattr(whole, name).tolist()


def test_the_sound_of_a_place_is_that_of_the_piece(demo: Demo) -> None:
    lengths = []
    for piece in (0, 1):
        content, begin_s = demo.sound("long", piece, 0.5, 0.5)
        assert content[:4] == b"RIFF"
        assert begin_s == pytest.approx(piece * PIECE_S, abs=0.001)
        lengths.append((len(content) - 44) / 3 / 16_000)
    assert lengths == pytest.approx([PIECE_S, 12 - PIECE_S], abs=0.1)
    with pytest.raises(gavt.MediaError, match="it has no sound from 16 s on"):
        demo.sound("long", 2, 0.5, 0.5)


def test_only_who_has_the_token_is_answered_and_a_video_comes_in_parts(demo: Demo, address: str) -> None:
    for place in ("/", "/model", "/videos/long", "/videos/long/maps/0"):
        status, said = ask(address.replace(TOKEN, "guessed") + place)
        assert (status, said) == (403, b"expected the address that gavt demo printed")
    status, part = ask(f"{address}/videos/long", Range="bytes=10-19")
    assert (status, part) == (206, (demo.folder / "long").read_bytes()[10:20])
    assert ask(f"{address}/videos/..%2Fsecret")[0] == 404
    assert ask(f"{address}/videos/long/sounds/0?x=2&y=0")[0] == 422
    assert ask(f"{address}/videos/long/sounds/0")[0] == 400


def test_what_is_no_video_is_told_and_not_kept(demo: Demo, address: str) -> None:
    before = set(demo.folder.iterdir())
    status, said = ask(f"{address}/videos", content=b"This is no video.")
    assert status == 422
    assert "error" in json.loads(said)
    assert str(demo.folder) not in json.loads(said)["error"]
    assert set(demo.folder.iterdir()) == before


def test_the_verb_says_where_the_page_is_until_it_is_ended(demo: Demo) -> None:
    command = [sys.executable, "-m", "jobs.cli", "demo", str(demo.folder / "run"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert url.startswith("http://127.0.0.1:")
        status, page = ask(url)
        assert (status, b"demo.js" in page) == (200, True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_a_dropped_video_shows_its_map_as_it_plays_and_a_clicked_place_is_heard(
    demo: Demo, address: str, tmp_path: Path
) -> None:
    content = base64.b64encode((demo.folder / "long").read_bytes()).decode()
    with Browser(f"{address}/", tmp_path, height=900) as browser:
        browser.wait_for("model !== null")
        browser.evaluate(f"show(new File(['no video'], '{'x' * 250}.mp4'))")
        browser.wait_for("$('status').classList.contains('wrong')")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a long name widens the page"
        browser.evaluate(
            "(() => { const t = new DataTransfer(); t.items.add(new File([Uint8Array.from(atob("
            f"'{content}'), (letter) => letter.charCodeAt(0))], 'long.mp4'));"
            "document.dispatchEvent(new DragEvent('drop', {dataTransfer: t})); })()"
        )
        browser.wait_for("maps.get(0) && maps.get(1)")
        browser.evaluate("say('it went wrong', true)")
        browser.wait_for("want(new Map(), 0, async () => 1, () => true).then(() => true)")
        assert browser.evaluate("$('status').textContent") == "it went wrong", "the next piece's success wipes it"
        coloured = (
            "(() => { const all = heat.width && heat.getContext('2d').getImageData(0, 0, heat.width, heat.height).data;"
            "return all && all.some((value, place) => place % 4 === 3 && value > 0); })()"
        )
        browser.wait_for(coloured)
        browser.click("#heat")
        browser.wait_for("place && place.pieces.get(0)")
        browser.wait_for("!video.paused && !sound.paused && sound.currentTime > 0.2")
        assert browser.evaluate("video.muted && Math.abs(place.x - 0.5) < 0.02 && Math.abs(place.y - 0.5) < 0.02")
        assert browser.evaluate("Math.abs(sound.currentTime + place.pieces.get(0).begin - video.currentTime) < 0.5")
        browser.click("#all")
        assert browser.evaluate("!video.muted && sound.paused && place === null")
