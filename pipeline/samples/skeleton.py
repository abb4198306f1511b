"""The one skeleton of a sample's keypoints: 26 points of the body and 21 of each hand, as AlphaPose's Halpe has them
without the face and as TriBERT (paper 001) takes them.

0 nose, 1–2 eyes, 3–4 ears, 5–6 shoulders, 7–8 elbows, 9–10 wrists, 11–12 hips, 13–14 knees, 15–16 ankles, 17 head,
18 neck, 19 pelvis, 20–21 big toes, 22–23 small toes, 24–25 heels, left before right; then the left hand, 26–46, and the
right one, 47–67: the wrist, and four points from the root of each finger to its tip, from the thumb on.
"""

BODY, HAND = 26, 21
POINTS = BODY + 2 * HAND
LEFT_HAND, RIGHT_HAND = BODY, BODY + HAND
"""The first point of each hand."""

_UNPAIRED = (0, 17, 18, 19)
_LEFT = (1, 3, 5, 7, 9, 11, 13, 15, 20, 22, 24)


def _mirrored() -> tuple[int, ...]:
    swapped = {point: point for point in _UNPAIRED}
    pairs = [(left, left + 1) for left in _LEFT] + [(LEFT_HAND + n, RIGHT_HAND + n) for n in range(HAND)]
    for left, right in pairs:
        swapped[left], swapped[right] = right, left
    return tuple(swapped[point] for point in range(POINTS))


MIRRORED = _mirrored()
"""Of each point the one that is in its place when left and right of the picture are changed."""


def _fingers(wrist: int) -> list[tuple[int, int]]:
    return [(wrist if n % 4 == 1 else wrist + n - 1, wrist + n) for n in range(1, HAND)]


BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (0, 18), (17, 18), (18, 5), (18, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (18, 19), (19, 11), (19, 12), (11, 12), (5, 11), (6, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    (15, 24), (24, 20), (24, 22), (16, 25), (25, 21), (25, 23), (9, LEFT_HAND), (10, RIGHT_HAND),
    *_fingers(LEFT_HAND), *_fingers(RIGHT_HAND),
)  # fmt: skip
"""Pairs of points that a line joins in a picture."""
