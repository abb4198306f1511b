"""The server behind the page: it keeps the videos that are dropped on it as long as it runs, and asks the model about
one piece of a video at a time."""

import base64
import secrets
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cluster.errors import UserError
from cluster.masking import mask_url, mask_urls
from pipeline.api.model import Model
from pipeline.demo.stretch import cut_stretch
from pipeline.errors import MediaError
from pipeline.evaluate.overlay.localize import FAINTEST, video_readout
from pipeline.evaluate.overlay.overlay import STRONGEST, heat_colours
from pipeline.evaluate.overlay.track import unit_range
from pipeline.evaluate.separating.by_place import separator_of
from pipeline.evaluate.separating.sound_file import SoundFile
from pipeline.reasons import Reason
from pipeline.sound.channels import LAYOUTS
from pipeline.video.video_file import open_video

PIECE_S = 8.0
"""Length of what is worked out at once: long enough to pay, short enough to wait for."""
_FPS_OF_SEVERAL = 12.0
"""Frames a second for a model that sees several at once."""
_HERE = Path(__file__).parent
_RULES = "default-src 'self'; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Demo:
    """A model, and the videos that it is asked about.

    Attributes:
        folder: where the videos lie.
        every_s: seconds between two maps.
    """

    model: Model
    folder: Path
    every_s: float = 0.5
    _one_at_a_time: Lock = field(default_factory=Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """
        Raises:
            SettingsError: the model makes no maps of what is dropped, which can't have keypoints beside it.
        """
        video_readout(self.model.trained, self.model.settings)

    @property
    def reason_against_sounds(self) -> str | None:
        """Why places can't be listened to; None where they can."""
        try:
            separator_of(self.model.trained, [])
        except UserError as error:
            return str(error)
        return None

    def maps(self, video: str, piece: int) -> dict[str, Any]:
        """The maps of a piece of a video: `times_s` [T] from the video's zero, `heat` [T, h, w] of 0–255 in base64, how
        strongly each is to be shown (`strength` [T], 0–1), and where they lie, as in `Localization`."""
        begin, end = piece * PIECE_S, (piece + 1) * PIECE_S
        around = ceil(self._heard_s / 2 / self.every_s) * self.every_s  # moments are those of the whole video
        cut = cut_stretch(self.path(video), begin - around, end + around, self._heard_s, self._fps)
        with self._one_at_a_time:
            found = self.model.localize(cut.clip, self.every_s)
        times = found.times_s + cut.begin_s
        inside = (times >= begin - 1e-6) & (times < end - 1e-6)
        heat = [np.rint(unit_range(one) * 255).astype(np.uint8) for one in found.maps[inside]]
        return {
            "times_s": times[inside].tolist(),
            "heat": base64.b64encode(b"".join(one.tobytes() for one in heat)).decode(),
            "strength": (FAINTEST + (1 - FAINTEST) * np.nan_to_num(found.match[inside])).tolist(),
            "square": found.square.tolist(),
            "rows": found.rows.tolist(),
            "columns": found.columns.tolist(),
        }

    def sound(self, video: str, piece: int, x: float, y: float) -> tuple[bytes, float]:
        """What sounds at a place during a piece of a video, as WAV, and when it begins, s from the video's zero.

        Raises:
            MediaError: its sound is over before that piece.
        """
        begin, end = piece * PIECE_S, (piece + 1) * PIECE_S
        around = self._heard_s / 2
        cut = cut_stretch(self.path(video), begin - around, end + around, self._heard_s, self._fps)
        with self._one_at_a_time:
            found = self.model.separate(cut.clip, {"here": (x, y)})
        sound = found.sounds["here"]
        first = max(round((begin - cut.begin_s) * found.rate_hz), 0)
        sound = sound[:, first : round((end - cut.begin_s) * found.rate_hz)]
        if not sound.size:
            raise MediaError(Reason.TOO_SHORT, f"it has no sound from {begin:g} s on")
        file = self.folder / f"{secrets.token_hex(8)}.wav"
        with SoundFile(file, "wav", found.rate_hz, LAYOUTS[len(sound)]) as out:
            out.write(sound)
        content = file.read_bytes()
        file.unlink()
        return content, cut.begin_s + first / found.rate_hz

    def path(self, video: str) -> str:
        """Where a video lies.

        Raises:
            HTTPException: there is none of this id.
        """
        path = self.folder / video
        if not video.isalnum() or not path.is_file():
            raise HTTPException(404, "expected a video that was dropped on this page, found none")
        return str(path)

    @property
    def _heard_s(self) -> float:
        features = self.model.trained.settings.features
        return features.audio_samples / features.audio_rate_hz

    @property
    def _fps(self) -> float:
        """Frames a second that the model is given to look at."""
        several = self.model.trained.settings.features.frames > 1
        return max(1 / self.every_s, _FPS_OF_SEVERAL if several else 0.0)


def create_app(demo: Demo, token: str) -> ASGIApp:
    """What answers the page's requests, all below `/TOKEN/`."""

    async def page(request: Request) -> Response:
        return FileResponse(_HERE / "page.html", headers={"Content-Security-Policy": _RULES})

    async def about(request: Request) -> Response:
        model = demo.model
        return JSONResponse(
            {
                "checkpoint": mask_url(model.checkpoint),
                "step": model.step,
                "reason_against_sounds": demo.reason_against_sounds,
                "piece_s": PIECE_S,
                "every_s": demo.every_s,
                "opacity": STRONGEST,
                "colours": heat_colours().astype(int).tolist(),
            }
        )

    async def take(request: Request) -> Response:
        video = secrets.token_hex(8)
        path = demo.folder / video
        try:
            with path.open("wb") as file:
                async for content in request.stream():
                    await run_in_threadpool(file.write, content)
            await run_in_threadpool(_check_video, str(path))
        except BaseException:  # the browser may also be gone, or the disk full
            path.unlink()
            raise
        return JSONResponse({"video": video})

    async def give(request: Request) -> Response:
        return FileResponse(demo.path(request.path_params["video"]))  # or as much of it as is asked for

    async def maps(request: Request) -> Response:
        words = request.path_params
        return JSONResponse(await run_in_threadpool(demo.maps, words["video"], words["piece"]))

    async def sound(request: Request) -> Response:
        words = request.path_params
        x, y = (_number(request, name) for name in ("x", "y"))
        content, begin_s = await run_in_threadpool(demo.sound, words["video"], words["piece"], x, y)
        return Response(content, media_type="audio/wav", headers={"X-Begin-S": f"{begin_s:.6f}"})

    async def refuse(request: Request, error: Exception) -> Response:
        sentence = str(error).replace(f"{demo.folder}/", "")
        return JSONResponse({"error": mask_urls(sentence)}, status_code=422)

    routes = [
        Route("/", page),
        *(Route(f"/{name}", partial(_static, name)) for name in ("demo.js", "demo.css")),
        Route("/model", about),
        Route("/videos", take, methods=["POST"]),
        Route("/videos/{video}", give),
        Route("/videos/{video}/maps/{piece:int}", maps),
        Route("/videos/{video}/sounds/{piece:int}", sound),
    ]
    app = Starlette(routes=[Mount(f"/{token}", routes=routes)], exception_handlers={UserError: refuse, OSError: refuse})
    return _WithToken(app, token)


class _WithToken:
    """Lets nobody in who doesn't know the token: other users of this machine, and pages of others in the browser."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = scope["path"].split("/")[1] if scope["type"] == "http" else ""
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            await PlainTextResponse("expected the address that gavt demo printed", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _static(name: str, request: Request) -> Response:
    return FileResponse(_HERE / name)


def _check_video(path: str) -> None:
    with open_video(path):
        pass


def _number(request: Request, name: str) -> float:
    try:
        return float(request.query_params[name])
    except (KeyError, ValueError):
        raise HTTPException(400, f"{name}: expected a place in 0-1 of the frame") from None
