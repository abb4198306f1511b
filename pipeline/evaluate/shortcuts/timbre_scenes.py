"""Timbre-Scenes: where the sound comes from, by place, by what stands out, by colour, by who strikes when."""

from collections import Counter, defaultdict

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.blur import gaussian_blur
from pipeline.evaluate.measures.contract import Table
from pipeline.evaluate.shortcuts.learners import hues
from pipeline.evaluate.shortcuts.maps import COLUMNS, MapScores, best_of, mask_of, mean_mask
from pipeline.evaluate.shortcuts.world_files import WorldFiles, WorldVideo
from pipeline.samples.metadata import Box
from pipeline.samples.skeleton import LEFT_HAND, RIGHT_HAND
from pipeline.worlds.instruments import INSTRUMENTS

_WINDOW = 1024
_FLOOR = 0.1  # of magnitudes: what is softer counts as silence
_HUE = {instrument.name: instrument.hue for instrument in INSTRUMENTS}


def check(world: WorldFiles) -> list[Table]:
    """What shortcuts reach on the test split, where the validation split tells them what lies and sounds where."""
    random = np.random.default_rng(0)
    places: dict[str, list[list[Box]]] = defaultdict(list)
    sounding: Counter[str] = Counter()
    for video in world.videos("validation"):
        for name, box in zip(video.row["labels"], video.row["boxes"], strict=True):
            places[name].append([box])
            sounding[name] += 1
    everywhere = [boxes for some in places.values() for boxes in some]
    scores = MapScores()
    for video in world.videos("test"):
        frame, names = video.middle, video.row["labels"]
        size = len(frame)
        truth = mask_of(video.row["boxes"], size)
        seen = [(sprite["class"], sprite["box"]) for sprite in video.truth["sprites"]]
        boxes = [box for _, box in seen]
        scores.groups.append(video.row.get("group"))
        scores.add_common(frame, truth, random)
        drawn = list(random.random(len(seen)))
        scores.add("any instrument (told where they are)", best_of(boxes, drawn, size), truth)
        scores.add("mean box of the validation split", mean_mask(everywhere, size), truth)
        heard = [boxes for name in names for boxes in places[name]]
        scores.add("sound alone: mean box of what is heard (told)", mean_mask(heard, size), truth)
        usual = best_of(boxes, [sounding[name] for name, _ in seen], size)
        scores.add("picture alone: what sounds most often (told)", usual, truth)
        hue, strength = hues(frame)
        distance = np.min([np.abs((hue - _HUE[name] + 0.5) % 1 - 0.5) for name in names], axis=0)
        alike = torch.from_numpy(strength * np.exp(-((distance / 0.04) ** 2)))[None, None]
        coloured = gaussian_blur(alike, size / 24)[0, 0].numpy()
        scores.add("colour of what is heard (told its class)", coloured, truth)
        if video.keypoints is not None:
            persons = [player["person"] for player in video.truth["players"]]
            strikes = _strikes(video.keypoints[:, persons])
            first = best_of(boxes, [-person for person in persons], size)
            scores.add("pose alone: the first person (told)", first, truth)
            most = best_of(boxes, list(strikes.sum(axis=0)), size)
            scores.add("pose alone: whose hands move most (told)", most, truth)
            fits = best_of(boxes, _fits(strikes, video), size)
            scores.add("pose and sound: whose hands strike at onsets (told)", fits, truth, "other")
        scores.add("truth", truth.astype(np.float32), truth, "ceiling")
    notes = (
        "told: the row is told by the truth what a perfect eye or ear would find out alone.",
        "Where colour belongs to the class it is the way to learn, and no shortcut: it needs what is heard.",
    )
    return [
        Table("localisation", "where the sound comes from", COLUMNS, scores.rows(), len(scores.groups), notes=notes)
    ]


def _strikes(keypoints: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """By how much the hands of each person go down from frame to frame [T, persons]."""
    heights = keypoints[:, :, [LEFT_HAND, RIGHT_HAND], 1]
    return np.asarray(np.clip(np.diff(heights, axis=0, prepend=heights[:1]), 0, None).sum(axis=-1))


def _fits(strikes: npt.NDArray[np.float64], video: WorldVideo) -> list[float]:
    """How well each person's strikes go with the sound's onsets, −1…1."""
    onsets = _onsets(video, len(strikes))
    onsets, strikes = onsets - onsets.mean(), strikes - strikes.mean(axis=0)
    length = np.sqrt((strikes**2).sum(axis=0) * (onsets**2).sum())
    return list((onsets @ strikes) / (length + 1e-9))


def _onsets(video: WorldVideo, frames: int) -> npt.NDArray[np.float64]:
    """By how much the frequencies of the sound that grow louder do so from frame to frame [T], in logs."""
    begins = np.round(np.arange(frames) * video.rate_hz / video.truth["fps"]).astype(int)
    padded = np.pad(video.sound, _WINDOW // 2)  # windows lie around the frames' times
    windows = np.stack([padded[begin : begin + _WINDOW] for begin in begins])
    spectra = np.log(np.abs(np.fft.rfft(windows * np.hanning(_WINDOW))) + _FLOOR)
    return np.asarray(np.clip(np.diff(spectra, axis=0, prepend=spectra[:1]), 0, None).sum(axis=1))
