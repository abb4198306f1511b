"""A video's sound taken apart by the places that it comes from, piece by piece."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import SettingsError
from pipeline.evaluate.overlay.video_keypoints import FoundKeypoints, VideoKeypoints
from pipeline.evaluate.readouts.needs import needs_objective, needs_visual_grid
from pipeline.evaluate.separating.found import find_places
from pipeline.evaluate.separating.hearing import Hearing, masks_of
from pipeline.evaluate.separating.masking import Masking, Separated
from pipeline.evaluate.separating.own_sound import OwnSound
from pipeline.evaluate.separating.places import Place
from pipeline.evaluate.separating.windows import Windows
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.features.masks import Stft
from pipeline.samples.metadata import Box
from pipeline.tasks.mix_and_separate import MixAndSeparate
from pipeline.tasks.task import System, objective
from pipeline.train.load import Trained


@dataclass(frozen=True)
class SoundByPlace:
    """A sound, and the places that what belongs to each is wanted of.

    Attributes:
        square: what of the upright frame the model sees, `[x1, y1, x2, y2]` in 0–1.
    """

    hearing: Hearing
    places: Sequence[Place]
    square: Box
    system: System
    separator: MixAndSeparate

    @classmethod
    def of(
        cls,
        sound: OwnSound,
        trained: Trained,
        settings: EvaluateSettings,
        places: Sequence[Place] | None,
        keypoints: FoundKeypoints | None = None,
    ) -> "SoundByPlace":
        """Of these places; None for those that the model finds, or for all that is in sight.

        Raises:
            MediaError: nothing of the video can be decoded.
            SettingsError: the model separates nothing, or none of these places, or doesn't see one of them.
        """
        separator, features = separator_of(trained, places), trained.settings.features
        windows = Windows.over(sound.length_s, features)
        persons = VideoKeypoints(sound.source, features, keypoints)
        hearing = Hearing(sound, windows, features, settings.shown_geometry, trained.device, persons)
        square = hearing.square()
        if places is None:
            places = find_places(hearing, trained.system, separator)
        for place in places:
            place.check_seen(square)
        return cls(hearing, places, square, trained.system, separator)

    @property
    def masking(self) -> Masking:
        """How masks are applied to the sound."""
        return Masking(Stft.of(self.hearing.features), self.separator.bins, self.hearing.sound.rate_hz)

    def __iter__(self) -> Iterator[Separated]:
        """The sounds of the places, and what no place keeps, from the video's zero on."""
        masks = masks_of(self.hearing, self.system, self.separator, self.places)
        return self.masking(self.hearing.sound.pieces(), self.hearing.windows.join(masks))


def separator_of(trained: Trained, places: Sequence[Place] | None) -> MixAndSeparate:
    """The objective that masks come from: of these places, or of those that the model finds. Other heads than `places`
    have one mask, of all that is in sight.

    Raises:
        SettingsError: there is none, or its masks belong to no places.
    """
    separator = objective(trained.system.task, MixAndSeparate)
    wrong = needs_objective(trained.system, MixAndSeparate, "mix_and_separate")
    if separator is not None and separator.head == "places":
        wrong = wrong or needs_visual_grid(trained.system)
    elif wrong is None and separator is not None and places is not None:
        wrong = (
            f"it needs a mask for each place (task.head = places), found task.head = {separator.head}, whose mask is "
            "of all that is in sight; that is asked for without places (--all)"
        )
    if separator is None or wrong is not None:
        raise SettingsError(f"{trained.url}: expected a model that separates by place, but {wrong}")
    return separator
