"""Readouts for a system: which can be had, and which is taken where nobody chose."""

from collections.abc import Sequence

from pipeline.errors import SettingsError
from pipeline.evaluate.metrics.resize import Centres
from pipeline.evaluate.readouts.readout import Readout
from pipeline.evaluate.registry import DEFAULT_READOUT, READOUTS
from pipeline.evaluate.settings import EvaluateSettings, Placement
from pipeline.tasks.task import System

_WATCHED, _ONE_PASS = ("similarity",), "1 forward"


def build_readout(name: str, settings: EvaluateSettings) -> Readout:
    """The readout of that name."""
    readout: Readout = READOUTS.part_named(name).of(name, settings)
    return readout


def reasons_against(names: Sequence[str], settings: EvaluateSettings, system: System) -> dict[str, str]:
    """Of some readouts, by name, why a system can't be read out so; those that work are not in it."""
    reasons = ((name, build_readout(name, settings).reason_against(system)) for name in names)
    return {name: reason for name, reason in reasons if reason is not None}


def placements(readout: Readout, system: System, settings: EvaluateSettings) -> dict[Placement, Centres | None]:
    """Where the values of a readout's maps may lie, and their places then (None: evenly); the first is taken where
    nothing tells which is better."""
    centres = readout.centres(system)
    if centres is None:
        return {"even": None}
    both: dict[Placement, Centres | None] = {"even": None, "centres": centres}
    return both if settings.placement == "measured" else {settings.placement: both[settings.placement]}


def default_readout(settings: EvaluateSettings, system: System) -> str:
    """The readout that is taken where no validation split chose one: `integrated_gradients`, or where that can't be had
    the first of the settings' that can and whose maps lie over the frame.

    Raises:
        SettingsError: there is none.
    """
    names = tuple(dict.fromkeys((DEFAULT_READOUT, *settings.readouts)))
    reasons = reasons_against(names, settings, system)
    for name in names:
        if name not in reasons and build_readout(name, settings).points_into_frame:
            return name
    said = "; ".join(f"{name}: {reasons.get(name, 'its maps lie over the spectrogram')}" for name in names)
    raise SettingsError(f"evaluate.readouts: expected one whose maps lie over the frame, found none ({said})")


def one_pass_readout(settings: EvaluateSettings, system: System) -> str | None:
    """The readout by which maps are watched while a model trains: of those that take one forward pass the similarity of
    places and sound, or the first of the settings'; None where there is none."""
    names = tuple(name for name in dict.fromkeys((*_WATCHED, *settings.readouts)) if name in READOUTS)
    made = {name: build_readout(name, settings) for name in names}
    cheap = [name for name, readout in made.items() if readout.cost == _ONE_PASS and readout.points_into_frame]
    return next((name for name in cheap if made[name].reason_against(system) is None), None)
