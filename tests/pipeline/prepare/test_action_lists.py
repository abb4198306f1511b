"""Lists of UCF101's and HMDB51's splits."""

from pathlib import Path

import pytest
from written_lists import put, rows_of

from pipeline.errors import ManifestError

UCF = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi{0}\nArchery/v_Archery_g01_c02.avi{1}\n"
HMDB = "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \n#1_Cleaning(old)_brush_hair_f_cm_np1_ri_goo_2.avi 2 \nx.avi 0 \n"


@pytest.mark.parametrize(
    ("name", "numbers", "split"), [("trainlist01.txt", (" 1", " 2"), "train"), ("testlist03.txt", ("", ""), "test")]
)
def test_a_split_of_ucf101_has_its_classes_from_the_folders(
    tmp_path: Path, name: str, numbers: tuple[str, str], split: str
) -> None:
    path = put(tmp_path / name, UCF.format(*numbers))
    first, second = rows_of(path)
    assert (first.video, first.labels, first.split) == ("v_ApplyEyeMakeup_g08_c01", ("ApplyEyeMakeup",), split)
    assert second.source == f"{tmp_path}/Archery/v_Archery_g01_c02.avi"
    elsewhere = rows_of(path, source="s3://bucket/{label}/{video}.avi")
    assert elsewhere[1].source == "s3://bucket/Archery/v_Archery_g01_c02.avi"


def test_a_split_of_hmdb51_has_training_and_test_in_one_file_a_class(tmp_path: Path) -> None:
    path = put(tmp_path / "brush_hair_test_split1.txt", HMDB)
    train, test = rows_of(path)
    assert (train.labels, train.split, test.split) == (("brush_hair",), "train", "test")
    assert test.video == "#1_Cleaning(old)_brush_hair_f_cm_np1_ri_goo_2"
    assert train.source == f"{tmp_path}/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi"
    assert rows_of(path, split="test", source="/videos/{label}/{video}.avi")[0].source.startswith(
        "/videos/brush_hair/#1_"
    )


def test_wrong_lines_and_names_are_named(tmp_path: Path) -> None:
    ucf = put(tmp_path / "trainlist01.txt", UCF.format(" 1", " two"))
    with pytest.raises(ManifestError, match=r"trainlist01.txt:2: expected a video such as ApplyEyeMakeup/v_"):
        rows_of(ucf, format="ucf101")
    hmdb = put(tmp_path / "brush_hair_test_split1.txt", HMDB + "y.avi 3\n")
    with pytest.raises(ManifestError, match=r"split1.txt:4: expected a video's name and 0, 1 or 2, found 'y.avi 3'"):
        rows_of(hmdb, format="hmdb51")
    with pytest.raises(ManifestError, match=r"list.txt: expected a name such as brush_hair_test_split1.txt"):
        rows_of(put(tmp_path / "list.txt", HMDB), format="hmdb51")
