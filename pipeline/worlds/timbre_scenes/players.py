"""Players: stick figures beside their instruments, whose hands strike at the beginning of each note."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from pipeline.samples.skeleton import BODY, BONES, HAND, LEFT_HAND, POINTS
from pipeline.worlds.sprites import Sprite
from pipeline.worlds.timbre_scenes.settings import STROKE_S

Points = npt.NDArray[np.float64]

STROKE = 0.16
"""How far a hand goes down in a stroke, as a share of the square of player and instrument."""
_INSTRUMENT = (0.18, 0.15, 0.6)  # its centre towards its side and downwards, and its size
_PLAYER = -0.3
_ALONG, _DOWN = (0.2, 0.32), (-0.12, -0.17)  # hands at rest, from the player's middle: near and far one
_HEIGHTS = (-0.34, -0.14, 0.06)
_HOLDS = tuple(product(_HEIGHTS, _HEIGHTS))  # how far down both hands are held by those who play each class
_FINGER, _SPREAD_DEGREES = 0.08, 22.0
_FINE = 3  # lines are drawn in so many times the pixels
_HEAD = 0.07
_DARK, _BODY, _HAND = (20, 20, 25), (235, 235, 230), (255, 205, 120)


def _standing() -> Points:
    """The body [26, 2] about its middle, as shares of its square, without elbows and hands. It looks out of the
    picture: its left is on the right."""
    points = np.zeros((BODY, 2))
    points[[0, 17, 18, 19]] = (0, -0.37), (0, -0.46), (0, -0.3), (0, 0.06)
    pairs = {1: (0.025, -0.4), 3: (0.055, -0.39), 5: (0.09, -0.28), 11: (0.06, 0.06), 13: (0.07, 0.26)}
    pairs |= {15: (0.075, 0.44), 20: (0.085, 0.48), 22: (0.11, 0.47), 24: (0.065, 0.47)}
    for left, (x, y) in pairs.items():
        points[left], points[left + 1] = (x, y), (-x, y)
    return points


_STANDING = _standing()


@dataclass(frozen=True)
class Player:
    """Who plays an instrument.

    Attributes:
        x, y: centre of the square of player and instrument, as shares of the frame's side.
        size: side of that square.
        side: where the instrument is: 1 to the right of the player, −1 to the left.
        person: its place in the file of keypoints, any of them: places among the sprites would tell what sounds.
        hands: how far the near and the far hand at rest are below its middle, as shares of the square.
    """

    x: float
    y: float
    size: float
    side: int
    person: int
    hands: tuple[float, float] = _DOWN

    def instrument(self, sprite: Sprite) -> tuple[float, float, float]:
        """Centre and side of the square that is left to the instrument, which had that of both for itself."""
        along, down, share = _INSTRUMENT
        x, y = sprite.x + self.side * along * sprite.size, sprite.y + down * sprite.size
        return round(x, 4), round(y, 4), round(share * sprite.size, 4)

    def at(self, time_s: float, strokes_s: Sequence[float]) -> Points:
        """The skeleton's points [68, 2] at a moment, as shares of the frame's side.

        Args:
            strokes_s: when strokes begin, in order; the two hands take turns.
        """
        body, arms = _STANDING.copy(), []
        for hand, (along, down) in enumerate(zip(_ALONG, self.hands, strict=True)):
            begun = max((begin for begin in strokes_s[hand::2] if begin <= time_s), default=-math.inf)
            out = math.sin(math.pi * (time_s - begun) / STROKE_S) if time_s < begun + STROKE_S else 0.0
            arms.append(np.array([self.side * along, down + STROKE * out]))
        left, right = arms[::-1] if self.side > 0 else arms  # the left hand is on the right: nearer or farther
        body[9], body[10] = left, right
        body[7:9] = (body[5:7] + body[9:11]) / 2 + (0, 0.05)
        points = np.vstack([body, _hand(left, 1), _hand(right, -1)])
        return np.asarray(points * self.size + (self.x + self.side * _PLAYER * self.size, self.y))


def hands_of(instrument: int) -> tuple[float, float]:
    """How those who play a class hold their hands, where each class has its own way (`Player.hands`)."""
    return _HOLDS[instrument]


def _hand(wrist: Points, thumb: int) -> Points:
    """A hand [21, 2] that points down, its thumb to the left (1) or the right (−1)."""
    fingers = np.arange(HAND - 1) // 4
    angle = np.radians(thumb * (2 - fingers) * _SPREAD_DEGREES)
    length = (np.arange(HAND - 1) % 4 + 1) * _FINGER / 4
    return np.vstack([wrist, wrist + np.stack([-np.sin(angle), np.cos(angle)], axis=1) * length[:, None]])


def draw_players(
    image: npt.NDArray[np.uint8], poses: Sequence[Points], players: Sequence[Player]
) -> npt.NDArray[np.uint8]:
    """A picture [size, size, 3] with players before it; each of them has a dark edge, and hands of another colour."""
    scale = len(image) * _FINE
    canvas = Image.fromarray(image.repeat(_FINE, axis=0).repeat(_FINE, axis=1))
    pen = ImageDraw.Draw(canvas)
    for points, player in zip(poses, players, strict=True):
        places = [(float(x), float(y)) for x, y in points * scale - 0.5]
        side = player.size * scale
        bones = [(a, b) for a, b in BONES if min(a, b) > 4]  # the face is a disc
        x, y = np.mean(np.array(places)[[0, 17]], axis=0)
        for colours, edge in (((_DARK, _DARK), 0.018), ((_BODY, _HAND), 0.0)):
            radius = (_HEAD + edge / 2) * side
            for a, b in bones:
                is_hand = b >= LEFT_HAND
                width = (0.018 if is_hand else 0.026) + edge
                pen.line([places[a], places[b]], fill=colours[is_hand], width=max(1, round(width * side)))
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colours[0])
    return np.asarray(canvas.reduce(_FINE))


def alphapose(frames: Sequence[Sequence[Points]], players: Sequence[Player], size: int) -> bytes:
    """The skeletons of each player in each frame as AlphaPose writes them: in pixels of frames of `size`, followed."""
    entries = []
    places = np.argsort([player.person for player in players])
    for number, poses in enumerate(frames):
        for who, place in enumerate(places):
            points = poses[place]
            values = np.hstack([np.round(points * size, 2), np.ones((POINTS, 1))]).ravel().tolist()
            entries.append({"image_id": f"{number}.jpg", "keypoints": values, "score": 1.0, "idx": who})
    return json.dumps(entries, separators=(",", ":")).encode()
