"""Samples with their maps beside the truth, to be looked at and listened to: of one run, or the same ones of several.

Pictures and sounds are of the page itself up to `MOST_INSIDE` bytes; a gallery that takes more has them as files in a
folder beside the page, which a browser fetches as they come into sight.
"""

import base64
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cluster import storage
from pipeline.evaluate.examples import read_examples
from pipeline.evaluate.measures.contract import Table
from pipeline.evaluate.metrics.resize import Centres
from pipeline.evaluate.overlay.overlay import lay_heat
from pipeline.evaluate.overlay.track import unit_range
from pipeline.evaluate.overlay.video_stream import Pixels
from pipeline.inspect.skeletons import draw_persons

MOST_INSIDE = 24 << 20
"""A browser opens a page of such a size in about a second; more it does not put off."""
_SIDE = 200
_TRUTH = np.array([255, 255, 255], dtype=np.float32)
_WHOLE = (0.0, 0.0, 1.0, 1.0)
_MASKS = "mixture", "mask of its own", "ideal mask"
_KINDS = {"jpg": "image/jpeg", "mp3": "audio/mpeg"}
Examples = Mapping[str, npt.NDArray[Any]]
"""As of `pipeline.evaluate.examples`."""


@dataclass(frozen=True)
class MapCard:
    """The map of a run.

    Attributes:
        run: its name; empty on a page of one run.
        heat: name of its picture.
        hit: whether the map's maximum lies on what sounds; None where nobody knows what sounds.
        ciou, ciou_adap: of the map's upper half, and of as much of it as the truth has.
    """

    run: str
    heat: str
    hit: bool | None
    ciou: float | None
    ciou_adap: float | None


@dataclass(frozen=True)
class Card:
    """A sample. `frame`, `truth` and `sound` are names of files; None where there is none. `views` are captions and
    names of pictures of what else the first run makes of it."""

    key: str
    labels: list[str]
    silent: list[str]
    frame: str
    truth: str | None
    sound: str | None
    maps: list[MapCard]
    views: list[tuple[str, str]]

    @property
    def wrong(self) -> list[str]:
        """Runs whose map points wrong."""
        return [one.run for one in self.maps if one.hit is False]

    @property
    def verdict(self) -> str:
        """`wrong` where some map points wrong, `right`, or `unknown`."""
        return "wrong" if self.wrong else "right" if any(one.hit for one in self.maps) else "unknown"

    @property
    def differs(self) -> bool:
        """Whether some maps point right and others wrong."""
        return bool(self.wrong) and any(one.hit for one in self.maps)

    @property
    def worst(self) -> float:
        """The lowest cIoU of as much of a map as the truth has, by which the worst come first; 2 where nobody knows."""
        return min((one.ciou_adap for one in self.maps if one.ciou_adap is not None), default=2.0)

    @property
    def words(self) -> list[str]:
        """What a search goes through."""
        return [self.key, *self.labels, *self.silent]


@dataclass(frozen=True)
class Gallery:
    """All samples.

    Attributes:
        runs: names of several runs; none on a page of one.
        readouts: that made the maps.
        files: contents of pictures and sounds, by name.
    """

    cards: list[Card] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    readouts: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def classes(self) -> list[tuple[str, int, int]]:
        """(class, samples, those of them that are wrong), the most wrong ones first."""
        samples = Counter(label for card in self.cards for label in set(card.labels))
        wrong = Counter(label for card in self.cards if card.verdict == "wrong" for label in set(card.labels))
        return sorted(((name, samples[name], wrong[name]) for name in samples), key=lambda one: (-one[2], one[0]))


def gallery_of(folders: Mapping[str, str], tables: Sequence[Table]) -> Gallery:
    """Of runs by name: what the evaluation of these tables kept. Where it judged no maps that is nothing, for what lies
    there is an older one's.

    Raises:
        RunError: what is kept is damaged.
    """
    if not any(table.measure == "localisation" for table in tables):
        return Gallery()
    found = {name: read_examples(folder) for name, folder in folders.items()}
    return make_gallery([(name, examples) for name, examples in found.items() if examples is not None])


def make_gallery(of_runs: Sequence[tuple[str, Examples]]) -> Gallery:
    """Of (name, examples) of runs: their samples, in the order of the first that has each."""
    places: dict[str, dict[int, int]] = {}
    for number, (_, examples) in enumerate(of_runs):
        for place, key in enumerate(examples["keys"]):
            places.setdefault(str(key), {})[number] = place
    gallery = Gallery(
        runs=[name for name, _ in of_runs] if len(of_runs) > 1 else [],
        readouts=list(dict.fromkeys(str(examples["readout"]) for _, examples in of_runs)),
    )
    for place_in_gallery, (key, found) in enumerate(places.items()):
        gallery.cards.append(_card(f"{place_in_gallery:05d}", key, found, of_runs, gallery))
    return gallery


def place_files(gallery: Gallery, page: str) -> dict[str, str]:
    """The address of each picture and sound on a page at this path; files beside it are written."""
    if sum(map(len, gallery.files.values())) <= MOST_INSIDE:
        return {name: _inside(name, content) for name, content in gallery.files.items()}
    above, name_of_page = page[: page.rfind("/") + 1], page[page.rfind("/") + 1 :]
    folder = name_of_page.removesuffix(".html") + "_files"
    for name, content in gallery.files.items():
        storage.write_bytes(f"{above}{folder}/{name}", content)
    return {name: f"{folder}/{name}" for name in gallery.files}


def folder_beside(addresses: Mapping[str, str]) -> str:
    """Name of the folder that a page needs beside it; empty where it needs none."""
    return next((address.rpartition("/")[0] for address in addresses.values() if not address.startswith("data:")), "")


def _inside(name: str, content: bytes) -> str:
    return f"data:{_KINDS[name.rpartition('.')[2]]};base64,{base64.b64encode(content).decode()}"


def _card(
    number: str, key: str, found: Mapping[int, int], of_runs: Sequence[tuple[str, Examples]], gallery: Gallery
) -> Card:
    """A sample that some runs, by their number, have at a place of their examples; its files are added."""

    def known(name: str, content: bytes) -> str:
        gallery.files[name] = content
        return name

    first, place = next(iter(found.items()))
    examples = of_runs[first][1]
    frame, sound = _frame(examples, place), _sound(examples, place)
    maps = []
    for run, own in found.items():
        name, theirs = of_runs[run]
        heat, hit = _heat(theirs, own), int(theirs["hits"][own])
        values = [None if hit < 0 else float(theirs[figure][own]) for figure in ("ciou", "ciou_adap")]
        heard = known(f"{number}-map-{run}.jpg", heat)
        maps.append(MapCard(name if gallery.runs else "", heard, None if hit < 0 else hit == 1, *values))
    located = int(examples["hits"][place]) >= 0
    truth = _show_truth(frame, np.asarray(examples["truths"][place], np.bool_)) if located else None
    return Card(
        key=key,
        labels=str(examples["labels"][place]).splitlines(),
        silent=str(examples["silent"][place]).splitlines(),
        frame=known(f"{number}-frame.jpg", _jpeg(frame)),
        truth=None if truth is None else known(f"{number}-truth.jpg", _jpeg(truth)),
        sound=known(f"{number}-sound.mp3", sound) if sound else None,
        maps=maps,
        views=[
            (caption, known(f"{number}-view-{place_of}.jpg", _jpeg(pixels)))
            for place_of, (caption, pixels) in enumerate(_views(examples, place, frame))
        ],
    )


def _views(examples: Examples, place: int, frame: Pixels) -> Iterator[tuple[str, Pixels]]:
    """Captions and pictures of what a model makes of a sample besides its map."""
    tokens = zip(examples["token_names"][place], examples["token_maps"][place], strict=True)
    for number, (name, heat) in enumerate(tokens, 1):
        yield f"token {number}: {name}", lay_heat(frame, unit_range(np.asarray(heat, np.float32)), _WHOLE)
    if examples["keypoints"].shape[1]:
        yield "keypoints", draw_persons(frame, examples["keypoints"][place])
    if examples["masks"].shape[2]:
        for caption, values in zip(_MASKS, examples["masks"][place], strict=True):
            lowest_below = Image.fromarray(np.ascontiguousarray(values[::-1], np.uint8)).resize((_SIDE, _SIDE))
            yield caption, np.array(lowest_below.convert("RGB"))


def _frame(examples: Examples, place: int) -> Pixels:
    return np.array(Image.fromarray(np.asarray(examples["frames"][place], np.uint8)).resize((_SIDE, _SIDE)))


def _heat(examples: Examples, place: int) -> bytes:
    """The map over its frame."""
    heat = np.asarray(examples["maps"][place], np.float32)
    centres = Centres(tuple(examples["rows"][place].tolist()), tuple(examples["columns"][place].tolist()))
    return _jpeg(lay_heat(_frame(examples, place), unit_range(heat), _WHOLE, centres=centres))


def _sound(examples: Examples, place: int) -> bytes:
    ends = examples["sound_ends"]
    return examples["sounds"][ends[place - 1] if place else 0 : ends[place]].tobytes()


def _show_truth(frame: Pixels, truth: npt.NDArray[np.bool_]) -> Pixels:
    """The frame dimmed where nothing sounds, a white line around what does."""
    mask = np.array(Image.fromarray(truth).resize((_SIDE, _SIDE), Image.Resampling.NEAREST))
    shown = np.where(mask[..., None], frame, frame * np.float32(0.3)).astype(np.float32)
    grown = mask.copy()
    for axis in (0, 1):
        for shift in (-2, 2):
            grown |= np.roll(mask, shift, axis=axis)
    shown[grown & ~mask] = _TRUTH
    return shown.astype(np.uint8)


def _jpeg(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
