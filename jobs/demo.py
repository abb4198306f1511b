"""`gavt demo`: a local page on which a video is dropped."""

import secrets
import signal
import socket
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.stop_signals import heeded_signals
from jobs.number_options import finite
from jobs.output import JsonFlag, Overrides, console, print_json

if TYPE_CHECKING:
    import uvicorn


def demo(
    checkpoint: Annotated[str, typer.Argument(help="Run folder, its checkpoints/ or one checkpoint, local or s3://.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than this machine get in by another, with the token.")
    ] = "127.0.0.1",
    every: Annotated[float, typer.Option(min=0.04, callback=finite, help="Seconds between two maps.")] = 0.5,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1; by default as the run's settings say.")
    ] = None,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Open a page of this machine: drop a video, see the map move over it, click a place, hear what sounds there."""
    from cluster.errors import UserError

    try:
        import uvicorn

        from pipeline.demo.server import Demo, create_app
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise UserError(f"gavt demo needs {error.name}, found none: pip install 'gavt[demo]'") from None
    from cluster.scratch import scratch_folder
    from pipeline.api.model import load

    model, token = load(checkpoint, device, overrides or []), secrets.token_urlsafe(24)
    with scratch_folder("gavt-demo-") as folder, _listening(host, port) as listener:
        app = create_app(Demo(model, folder, every), token)
        url = f"http://{host}:{listener.getsockname()[1]}/{token}/"
        console(as_json).print(f"{url}\nCtrl-C ends it, and forgets the videos", soft_wrap=True)
        if as_json:
            print_json({"url": url, "checkpoint": model.checkpoint, "step": model.step})
        # a paused video holds its request open
        _serve(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2), listener)


def _listening(host: str, port: int) -> socket.socket:
    from cluster.errors import UserError
    from cluster.os_errors import why

    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()  # who reads the address can knock at once
    except OSError as error:
        listener.close()
        raise UserError(f"--host {host} --port {port}: can't listen there: {why(error)}") from None
    return listener


def _serve(config: "uvicorn.Config", listener: socket.socket) -> None:
    """Until somebody ends it, by Ctrl-C or otherwise; that is no failure."""
    import uvicorn

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in heeded_signals():  # uvicorn ends in order, then raises what it was ended by once more
        signal.signal(number, interrupt)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
