"""Wrong frames by codec, GOP, B-frames and container, beside those of decord asked plainly, by number.

Videos whose frames carry their number as a bar code and whose sound clicks at known frames, read as `gavt prepare`
does, with both frame choices. A frame counts as wrong that is not the one its time says, and one that is missing. A row
is not ok either where a time lies half a frame off, or a click 5 ms.
"""

import os
import tempfile
from fractions import Fraction
from pathlib import Path

from result import Result

os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder talks a lot


def run() -> list[Result]:
    """A row a kind of video: 12 wanted frames with each choice."""
    from barcode_kinds import FPS, SNAP_S, judge, kinds, wrong_with_plain_decord

    results = []
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        for kind in kinds():
            path = kind.write(Path(folder))
            verdicts = [judge(path, snap_s) for snap_s in (Fraction(0), SNAP_S)]
            wrong = sum(verdict.wrong for verdict in verdicts)
            time_s = max(verdict.time_error_s for verdict in verdicts)
            sound_s = max(verdict.sound_error_s for verdict in verdicts)
            ok = wrong == 0 and time_s <= 0.5 / FPS and sound_s <= 0.005
            peer = (
                f"decord by itself: {wrong_with_plain_decord(path)} of 12 wrong; clicks within {sound_s * 1e3:.1f} ms"
            )
            results.append(Result(str(kind), wrong, "", 0, ok, peer))
            path.unlink()
    return results
