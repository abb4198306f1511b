"""No wrong frame, time or sound: codec × GOP × B-frames × container, by frames that carry their number."""

from pathlib import Path

import pytest
from barcode_kinds import SNAP_S, TIMES, Kind, judge, kinds

_KINDS = [pytest.param(kind, id=str(kind), marks=() if kind.usual else pytest.mark.slow) for kind in kinds()]


@pytest.mark.parametrize("kind", _KINDS)
def test_frames_are_those_of_their_times_and_clicks_fall_on_theirs(kind: Kind, tmp_path: Path) -> None:
    path = kind.write(tmp_path)
    for snap_s in (0, SNAP_S):
        verdict = judge(path, snap_s)
        assert verdict.wrong == 0
        assert len(set(verdict.numbers)) == len(TIMES)
        assert verdict.time_error_s <= 0.5 / 25
        assert verdict.sound_error_s <= 0.005
