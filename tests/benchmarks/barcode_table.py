"""Wrong frames by kind of video, over every way in which frames and sound are taken, beside decord asked plainly.

Videos whose frames carry their number as a bar code and whose sound clicks at known times: codec × GOP × B-frames ×
container, and kinds whose container says what isn't so. Ways: exact frames, keyframes, segments, clips, clips in
somebody's tar, `gavt localize`. A frame counts as wrong that is not the one its time says, or half a frame beside its
sound; of the first kinds also one that is missing, and a row is not ok either where a click lies 5 ms off. What is
refused is counted apart.
"""

import os
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

from result import Result

os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder talks a lot


def run() -> list[Result]:
    """A row a kind of video."""
    from barcode_kinds import FPS, SNAP_S, judge, kinds, wrong_with_plain_decord
    from barcode_odd_kinds import ODD_KINDS
    from barcode_ways import judge_ways

    results = []
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        for kind in [*kinds(), *ODD_KINDS]:
            place = Path(folder) / str(len(results))
            place.mkdir()
            path = kind.write(place)
            ways = judge_ways(path)
            wrong = sum(way.wrong for way in ways.values())
            ok, clicks = True, ""
            if kind not in ODD_KINDS:
                verdicts = [judge(path, snap_s) for snap_s in (Fraction(0), SNAP_S)]
                wrong += sum(verdict.wrong for verdict in verdicts)
                sound_s = max(verdict.sound_error_s for verdict in verdicts)
                ok = max(verdict.time_error_s for verdict in verdicts) <= 0.5 / FPS and sound_s <= 0.005
                clicks = f"; clicks within {sound_s * 1e3:.1f} ms"
            right, refused = (sum(getattr(way, what) for way in ways.values()) for what in ("right", "refused"))
            alone = f"decord by itself: {wrong_with_plain_decord(path)} of 12 wrong"
            peer = f"{alone} (right {right}, refused {refused}{clicks})"
            results.append(Result(str(kind), wrong, "", 0, ok and wrong == 0, peer))
            shutil.rmtree(place)
    return results
