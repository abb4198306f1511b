import json
from pathlib import Path

import pytest

from jobs.cli import main
from pipeline.errors import SynthError
from pipeline.evaluate.measures.contract import Row, Table
from pipeline.evaluate.shortcuts.check import check_world
from pipeline.worlds.event_strips.settings import EventStripsSettings
from pipeline.worlds.sync_movers.settings import SyncMoversSettings
from pipeline.worlds.timbre_scenes.settings import TimbreScenesSettings
from pipeline.worlds.world import render_world


def rows(table: Table, kind: str) -> dict[str, Row]:
    return {row.name: row for row in table.rows if row.kind == kind}


def test_on_sync_movers_only_what_sees_and_hears_finds_the_mover_tells_off_screen_and_the_shift(tmp_path: Path) -> None:
    render_world(SyncMoversSettings(train=6, validation=2, test=4), str(tmp_path), seed=0)
    localisation, off_screen, offset = check_world(str(tmp_path))
    assert localisation.samples == 8
    for name, row in rows(localisation, "control").items():
        if name not in ("any place", "any object (told where they are)"):  # these two are drawn anew for each sound
            assert row.values["iiou_adap"] == 0, name  # the same pictures with another sound: right once at most
        assert (row.values["pointing"] or 0) < 0.75
    for row in rows(localisation, "other").values():
        assert (row.values["pointing"] or 0) > 0.9
        assert (row.values["ciou_adap"] or 0) > 0.9
    assert rows(off_screen, "control")["always on"].values["auroc"] == 0.5
    assert rows(off_screen, "control")["amount of motion"].values["auroc"] == 0.5  # of the same pictures
    assert (rows(off_screen, "other")["best match of motion and sound"].values["auroc"] or 0) > 0.95
    assert (rows(offset, "other")["best match of motion and sound"].values["near"] or 0) > 0.9


def test_on_event_strips_no_modality_alone_tells_events_and_both_do(tmp_path: Path) -> None:
    render_world(EventStripsSettings(train=12, validation=0, test=6), str(tmp_path), seed=0)
    events, localisation = check_world(str(tmp_path))
    controls, ceiling = rows(events, "control"), rows(events, "ceiling")
    never = controls["never an event"].values
    assert (never["accuracy"], never["events"]) == (pytest.approx(0.7), 0)
    for name, row in controls.items():
        if "told" in name:
            assert (row.values["accuracy"] or 0) <= 0.7, name
            assert row.values["auroc_off_screen"] == 0.5, name
        else:
            assert (row.values["accuracy"] or 0) <= 0.82, name  # of 60 segments: two standard errors above
    assert set(ceiling["what is heard is seen (told)"].values.values()) == {1.0}
    assert (rows(events, "other")["what is heard is seen (learnt apart)"].values["accuracy"] or 0) > 0.75
    assert localisation.samples == 18
    assert (rows(localisation, "control")["centre"].values["ciou_adap"] or 0) < 0.2


def test_on_timbre_scenes_the_check_tells_where_colour_belongs_to_the_class(tmp_path: Path) -> None:
    reached = {}
    for difficulty in ("easy", "hard"):
        settings = TimbreScenesSettings(train=0, validation=4, test=10, difficulty=difficulty, stems="none")
        render_world(settings, str(tmp_path / difficulty), seed=0)
        (table,) = check_world(str(tmp_path / difficulty))
        controls = rows(table, "control")
        reached[difficulty] = controls["colour of what is heard (told its class)"].values["pointing"] or 0
        for name in ("centre", "mean box of the validation split", "saliency, frequency tuned"):
            assert controls[name].values["iiou_adap"] == 0
        assert rows(table, "ceiling")["truth"].values["iiou_adap"] == 1
    assert reached["easy"] > 0.9
    assert reached["hard"] < 0.6


def test_on_timbre_scenes_with_players_only_pose_and_sound_together_tell_which_of_instruments_alike_sounds(
    tmp_path: Path,
) -> None:
    settings = TimbreScenesSettings.model_validate(
        {"train": 0, "validation": 2, "test": 10, "fps": 16, "duration_s": 4, "stems": "none", "players": {}}
        | {"frame_size": 64, "sounding_weights": {1: 1}, "silent_weights": {2: 1}}
    )
    render_world(settings, str(tmp_path), seed=0)
    (table,) = check_world(str(tmp_path))
    controls, other = rows(table, "control"), rows(table, "other")
    for name in ("pose alone: whose hands move most (told)", "picture alone: what sounds most often (told)", "centre"):
        assert controls[name].values["iiou_adap"] == 0, name  # the same pictures with another sound
        assert (controls[name].values["pointing"] or 0) <= 0.5, name
    assert (other["pose and sound: whose hands strike at onsets (told)"].values["pointing"] or 0) > 0.75


def test_the_verb_checks_a_world_that_is_there_and_one_that_it_renders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def called(*words: str) -> dict:
        with pytest.raises(SystemExit) as end:
            main(["synth", "--out", str(tmp_path / "w"), "--check", "--json", *words])
        assert not end.value.code
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    sizes = [word for size in ("train=0", "validation=1", "test=1") for word in ("--set", f"synth.{size}")]
    made = called("--workers", "1", *sizes)
    found = called()
    assert made["rendered"] == 4
    assert "rendered" not in found
    assert found["tables"] == made["tables"]
    assert found["tables"][0]["title"] == "where the sound comes from"


def test_what_is_no_world_or_has_nothing_to_test_on_is_one_sentence(tmp_path: Path) -> None:
    render_world(TimbreScenesSettings(train=1, validation=0, test=0), str(tmp_path), seed=0)
    with pytest.raises(SynthError, match=r"expected videos in validation.jsonl to check the world by, found none"):
        check_world(str(tmp_path))
    (tmp_path / "world.json").write_text('{"settings": {"kind": "another"}}')
    with pytest.raises(SynthError, match="expected a world of kind timbre_scenes, .* found another"):
        check_world(str(tmp_path))
    (tmp_path / "world.json").write_text("[]")
    with pytest.raises(SynthError, match=r"world.json: expected JSON that gavt synth wrote"):
        check_world(str(tmp_path))
