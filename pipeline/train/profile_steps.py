"""Which steps of training are recorded."""

from pipeline.errors import SettingsError


def profile_steps(words: str) -> tuple[int, int]:
    """First and last step of `A:B`.

    Raises:
        SettingsError: it isn't that.
    """
    first, _, last = words.partition(":")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise SettingsError(f"--profile-steps: expected two steps as in 20:22, found {words!r}")
    return int(first), int(last)
