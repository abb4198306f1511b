"""Places as they are asked for, and the tokens that they are."""

import json
from pathlib import Path

import pytest

from cluster.errors import StorageError
from pipeline.errors import SettingsError
from pipeline.evaluate.separating.places import Place, places_asked, read_clicks
from pipeline.models.contract import TokenGrid

GRID = TokenGrid((("time", 1), ("row", 2), ("column", 4)))
WHOLE = (0.0, 0.0, 1.0, 1.0)


def asked(*at: str, box: tuple[str, ...] = (), clicks: str | None = None, find: bool = False) -> list[Place]:
    places = places_asked(at, box, clicks, find)
    assert places is not None
    return places


def test_points_and_boxes_keep_their_order_and_names() -> None:
    places = asked("0.25,0.5", "violin=0,1", box=("0.1,0.2,0.3,0.4",))
    assert [(place.name, place.path[0][1]) for place in places] == [
        ("place_1", (0.25, 0.5, 0.25, 0.5)),
        ("violin", (0, 1, 0, 1)),
        ("place_3", (0.1, 0.2, 0.3, 0.4)),
    ]
    assert places_asked([], [], None, True) is None


@pytest.mark.parametrize(
    ("at", "box", "sentence"),
    [
        ((), (), "expected places by --at, --box or --clicks, or else --all, found neither"),
        (("0.5",), (), "--at 0.5: expected x,y, .* found 1 numbers"),
        (("0.5,a",), (), "--at 0.5,a: expected x,y, .* found 'a'"),
        (("0.5,nan",), (), "found nan"),
        (("320,180",), (), "found 320; divide pixels by the frame's width and height"),
        (("-0.1,0",), (), "inside of the frame.* found -0.1$"),
        (("a/b=0.5,0.5",), (), "expected a name of letters.* found 'a/b'"),
        (("rest=0.5,0.5",), (), "neither rest nor mixture, found 'rest'"),
        (("a=0,0", "A=1,1"), (), "expected another name for each place, found it twice"),
        ((), ("0.1,0.1,0.2",), "expected x1,y1,x2,y2, .* found 3 numbers"),
        ((), ("0.3,0.1,0.2,0.4",), "x1 < x2 and y1 < y2, found one without an area"),
    ],
)
def test_what_is_no_place_is_said(at: tuple[str, ...], box: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        places_asked(at, box, None, False)
    with pytest.raises(SettingsError, match="found all of it"):
        places_asked(["0,0"], [], None, True)


def test_a_click_file_may_be_lines_or_a_list(tmp_path: Path) -> None:
    rows = [{"name": "a", "x": 0.1, "y": 0.2}, {"box": [0, 0, 0.5, 1]}]
    lines, whole = tmp_path / "clicks.jsonl", tmp_path / "clicks.json"
    lines.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    whole.write_text(json.dumps(rows, indent=1))
    assert read_clicks(str(lines)) == read_clicks(str(whole))
    assert [place.name for place in asked("0,0", clicks=str(lines))] == ["place_1", "a", "place_3"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", ": expected clicks, found none"),
        ("[]", ": expected clicks, found none"),
        ("[1", "expected a list of clicks in JSON"),
        ('{"x": 0.1, "y": 0.2}\n{', ":2: expected a click in JSON, found '{'"),
        ("[3]", "click 1: expected a click such as"),
        ('{"x": 0.1}', ":1: expected x,y, .* found None"),
        ('{"name": "a"}', "expected x and y, or box, found name"),
        ('{"x": 0, "y": 0, "box": [0, 0, 1, 1]}', "expected x and y, or box, found x, y, box"),
        ('{"box": "all"}', "expected box as"),
        ('{"x": true, "y": 0}', "found nan"),
        ('{"x": 0, "y": 0, "z": 1}', "expected name, x, y, box, time, found 'z'"),
        ('{"x": 0, "y": 0, "time": -1}', "expected time in seconds"),
        ('{"name": 3, "x": 0, "y": 0}', "expected a name of letters"),
        ('{"name": "a", "x": 0, "y": 0}\n{"name": "a", "x": 1, "y": 0}', "found 0 s twice"),
        ("[" * 100_000, "expected a list of clicks in JSON"),
        (b"\xff\xfe\x00", "found no text"),
    ],
)
def test_a_click_file_that_can_t_be_understood_is_said(text: str | bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "clicks.jsonl"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError, match=sentence) as caught:
        read_clicks(str(file))
    assert str(caught.value).startswith(str(file))


def test_a_click_file_that_isn_t_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone.jsonl"):
        read_clicks(str(tmp_path / "gone.jsonl"))


def test_a_name_that_comes_at_several_times_is_a_place_that_moves(tmp_path: Path) -> None:
    file = tmp_path / "clicks.jsonl"
    rows = [(2.0, 0.8, 0.4), (1.0, 0.2, 0.2)]
    file.write_text("\n".join(json.dumps({"name": "a", "time": t, "x": x, "y": y}) for t, x, y in rows))
    (place,) = read_clicks(str(file))
    assert place.box_at(0)[:2] == (0.2, 0.2)
    assert place.box_at(1.5)[:2] == pytest.approx((0.5, 0.3))
    assert place.box_at(2)[:2] == place.box_at(9)[:2] == (0.8, 0.4)


def at(*box: float) -> Place:
    x1, y1, x2, y2 = box if len(box) == 4 else (*box, *box)
    return Place("a", ((0.0, (x1, y1, x2, y2)),))


def test_a_point_is_the_tokens_around_it_and_a_box_the_cells_in_it() -> None:
    def weights(*box: float) -> list[float]:
        found: list[float] = at(*box).weights_at(0, WHOLE, GRID).tolist()
        assert sum(found) == pytest.approx(1)
        return found

    assert weights(0.125, 0.25) == [1, 0, 0, 0, 0, 0, 0, 0]  # the middle of the first cell
    assert weights(0.25, 0.5) == pytest.approx([0.25, 0.25, 0, 0, 0.25, 0.25, 0, 0])  # between four
    assert weights(0, 0) == [1, 0, 0, 0, 0, 0, 0, 0]  # at the edge
    assert weights(0.99, 1) == [0, 0, 0, 0, 0, 0, 0, 1]
    assert weights(0, 0, 0.5, 0.5) == pytest.approx([0.5, 0.5, 0, 0, 0, 0, 0, 0])
    assert weights(0, 0, 0.375, 1) == pytest.approx([1 / 3, 1 / 6, 0, 0, 1 / 3, 1 / 6, 0, 0])
    assert weights(0, 0, 1, 1) == pytest.approx([1 / 8] * 8)


def test_of_several_frames_the_middle_one_s_tokens_are_it() -> None:
    grid = TokenGrid((("time", 3), ("row", 1), ("column", 2)))
    assert at(0.25, 0.5).weights_at(0, WHOLE, grid).tolist() == [0, 0, 1, 0, 0, 0]


def test_places_lie_in_the_frame_and_not_in_the_model_s_square() -> None:
    square = (0.25, 0.0, 0.75, 1.0)  # of a frame that is twice as wide as high
    assert at(0.3125, 0.25).weights_at(0, square, GRID).argmax() == 0
    at(0.25, 0).check_seen(square)
    at(0.1, 0.1, 0.3, 0.3).check_seen(square)  # part of it
    with pytest.raises(SettingsError, match=r"a: expected .* x in 0.250 to 0.750 .* found 0.1, 0.5; .*geometry=squash"):
        at(0.1, 0.5).check_seen(square)
    with pytest.raises(SettingsError, match="found 0.8, 0, 0.9, 1 at 3 s"):
        Place("a", ((0.0, (0.5, 0, 0.6, 1)), (3.0, (0.8, 0, 0.9, 1)))).check_seen(square)
    letterbox = (0.0, -0.5, 1.0, 1.5)
    assert at(0.1, 0.25).weights_at(0, letterbox, GRID)[:4].sum() == pytest.approx(0.75)
