"""Mixtures to be listened to place by place, as the page has them inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A place of a frame.

    Attributes:
        sound: id of the page's sound that is played for it.
        words: where it lies and how much it keeps.
        heat: 0–1, how much it keeps beside the place that keeps most.
        tab_index: of its button; of a frame one place is reached by the tab key, the others by arrows from there.
    """

    sound: str
    words: str
    heat: float
    tab_index: int


@dataclass(frozen=True)
class Frame:
    """A frame whose places can be played; `rows` of `Cell`."""

    title: str
    address: str
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Player:
    """A mixture: (title, id of the page's sound) of itself and of what was mixed, and its frames."""

    whole: list[tuple[str, str]]
    frames: list[Frame]


@dataclass(frozen=True)
class Players:
    """All of them.

    Attributes:
        sounds: `data:` address of each sound of the page, by its id.
    """

    players: list[Player]
    sounds: dict[str, str]


def make_players(examples: Mapping[str, Any]) -> Players:
    """What is in `evaluation_sounds.json` (see `pipeline.evaluate.playable`)."""
    sounds: dict[str, str] = {}

    def known(name: str, content: str) -> str:
        sounds[name] = f"data:audio/mpeg;base64,{content}"
        return name

    players = []
    for number, sample in enumerate(examples["samples"], 1):
        whole = [("the mixture", known(f"sound-{number}-mixture", sample["mixture"]))]
        whole += [
            (one["title"], known(f"sound-{number}-true-{place}", one["sound"]))
            for place, one in enumerate(sample["sounds"], 1)
        ]
        frames = []
        for place, view in enumerate(sample["views"], 1):
            ids = [known(f"sound-{number}-{place}-{one}", content) for one, content in enumerate(view["sounds"], 1)]
            frames.append(_frame(view, ids))
        players.append(Player(whole, frames))
    return Players(players, sounds)


def _frame(view: Mapping[str, Any], ids: list[str]) -> Frame:
    rows, columns, most = view["rows"], view["columns"], max(max(view["kept"]), 1e-6)

    def cell(row: int, column: int) -> Cell:
        place = row * columns + column
        kept = view["kept"][place]
        words = f"row {row + 1} of {rows}, column {column + 1} of {columns}: keeps {100 * kept:.0f} % of the energy"
        return Cell(ids[view["sound_of"][place]], words, kept / most, -1 if place else 0)

    cells = [[cell(row, column) for column in range(columns)] for row in range(rows)]
    return Frame(view["title"], "data:image/jpeg;base64," + view["frame"], cells)
