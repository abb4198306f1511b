"""Progress bars of what goes through a video."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


@contextmanager
def bars_of_seconds(screen: Console) -> Iterator[Callable[[str, float, float], None]]:
    """Bars that are told (what is being done, seconds of video done, seconds in all)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeRemainingColumn(), console=screen, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(doing: str, done: float, total: float) -> None:
            if doing not in tasks:
                tasks[doing] = bars.add_task(doing, total=total)
            bars.update(tasks[doing], completed=done, total=total)

        yield show
