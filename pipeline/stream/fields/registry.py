"""The fields that a run asks for, by name."""

from collections.abc import Sequence

from pipeline.errors import SettingsError
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.settings import FeatureSettings
from pipeline.settings.explain import did_you_mean
from pipeline.stream.fields.contract import FieldSettings, FieldSpec
from pipeline.stream.fields.frames import FramesField
from pipeline.stream.fields.sound import SoundField


def fields_of(features: FeatureSettings, names: Sequence[str | FieldSpec], augment: bool) -> tuple[FieldSpec, ...]:
    """The fields of these names, each once: `frames` and `sound`, which the features describe themselves, and those of
    `features.inputs`.

    Args:
        names: a field itself may stand among them.
        augment: as in training; else as they are.

    Raises:
        SettingsError: there is no such input.
    """
    wanted = (one if isinstance(one, FieldSpec) else _field(features, one, augment) for one in names)
    return tuple({field.name: field for field in wanted}.values())


def _field(features: FeatureSettings, name: str, augment: bool) -> FieldSpec:
    if name == FRAMES:
        return FramesField.of(features, augment)
    if name == SOUND:
        return SoundField.of(features)
    settings = features.inputs.get(name)
    if settings is None:
        known = [FRAMES, SOUND, *features.inputs]
        raise SettingsError(f"features.inputs: expected an input {name!r}, found none{did_you_mean(name, known)}")
    assert isinstance(settings, FieldSettings)
    return settings.spec(name, features, augment)
