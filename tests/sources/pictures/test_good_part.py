"""Choose the pictures of a folder to train on: common trees are accepted, and trees that contain defects are refused."""

import logging
import re
from pathlib import Path

import pytest

from andon.foundation.errors import DataError
from andon.sources.pictures.folder import open_listing
from andon.sources.pictures.good_part import good_part


def put(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def learned(root: Path) -> list[str]:
    return list(good_part(str(root), open_listing(root)))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["1.png", "2.png"], ["1.png", "2.png"], id="flat"),
        pytest.param(
            ["train/good/1.png", "test/good/1.png", "test/crack/1.png", "ground_truth/crack/1_mask.png"],
            ["train/good/1.png"],
            id="MVTec AD",
        ),
        pytest.param(
            ["train/good/1.png", "validation/good/2.png", "test_public/bad/1.png"],
            ["train/good/1.png"],
            id="MVTec AD 2",
        ),
        pytest.param(["train/ok/1.png", "test/ok/1.png", "test/nok/1.png"], ["train/ok/1.png"], id="train/ok"),
        pytest.param(["Train/OK/1.png", "Test/NG/1.png"], ["Train/OK/1.png"], id="Train/OK"),
        pytest.param(["good/1.png", "scratch/1.png"], ["good/1.png"], id="good and scratch"),
        pytest.param(["Good/1.png", "Scratch/1.png"], ["Good/1.png"], id="Good and Scratch"),
        pytest.param(["GOOD/1.png", "Scratch/1.png"], ["GOOD/1.png"], id="GOOD"),
        pytest.param(["ok/1.png", "nok/1.png"], ["ok/1.png"], id="ok and nok"),
        pytest.param(["OK/1.png", "NG/1.png"], ["OK/1.png"], id="OK and NG"),
        pytest.param(["normal/1.png", "anomaly/1.png"], ["normal/1.png"], id="normal"),
        pytest.param(["good/1.png", "2.png"], ["good/1.png"], id="good and loose pictures"),
        pytest.param(
            ["good/2026-11-01/1.png", "good/left/1.png", "bad/1.png"],
            ["good/2026-11-01/1.png", "good/left/1.png"],
            id="folders below good",
        ),
        pytest.param(["2026-11-01/1.png", "2026-11-02/1.png"], ["2026-11-01/1.png", "2026-11-02/1.png"], id="dates"),
        pytest.param(["cam1/1.png", "cam2/1.png"], ["cam1/1.png", "cam2/1.png"], id="cameras"),
        pytest.param(["lotA/1.png", "lotB/1.png", "3.png"], ["3.png", "lotA/1.png", "lotB/1.png"], id="lots"),
        pytest.param(["monday/1.png", "tuesday/2.png"], ["monday/1.png", "tuesday/2.png"], id="weekdays"),
        pytest.param(["left/1.png", "right/2.png"], ["left/1.png", "right/2.png"], id="sides"),
        pytest.param(["0012/top.png", "0013/top.png"], ["0012/top.png", "0013/top.png"], id="serial numbers"),
        pytest.param(
            ["images/2026/11/1.png", "images/2026/12/1.png"],
            ["images/2026/11/1.png", "images/2026/12/1.png"],
            id="one folder of dates",
        ),
        pytest.param(["day1/good/1.png", "day2/OK/1.png"], ["day1/good/1.png", "day2/OK/1.png"], id="good everywhere"),
        pytest.param(["train/1.png"], ["train/1.png"], id="train alone"),
        *[
            pytest.param([f"good/{name}/1.png"], [f"good/{name}/1.png"], id=f"good/{name}")
            for name in ("test_bench_1", "val_2026", "hole")
        ],
        pytest.param(["day1/ok/test_bench/1.png"], ["day1/ok/test_bench/1.png"], id="a test bench below good"),
    ],
)
def test_training_learns_from_the_good_parts_of_the_trees_that_users_have(
    tmp_path: Path, names: list[str], expected: list[str]
) -> None:
    put(tmp_path, *names)

    assert learned(tmp_path) == expected


@pytest.mark.parametrize(
    "folders",
    [
        ["links", "rechts"],
        ["oben", "unten", "Mitte"],
        ["vorne", "hinten"],
        ["Frühschicht", "Spätschicht", "Nacht"],
        ["fru\u0308h", "spa\u0308t"],  # as macOS stores them
        ["Januar", "März", "Mai", "Dezember"],
        ["Kamera links", "Kamera rechts"],
        ["Schicht A", "Schicht B"],
        ["Linie A", "Serie B"],
        ["A", "B"],
        ["line_A", "series_B"],
        ["crackers_1", "dental_2"],
        ["KO-1234", "KO-1235"],
        ["NG200", "NG300"],
        [
            "defect-free",
            "DefectFree",
            "no_defects",
            "without_scratches",
            "ohne_Fehler",
            "fehlerfrei",
            "kratzerfreie Teile",
        ],
        ["checked_in_ok", "in ok", "Gutteile", "iO", "i.O.", "in Ordnung", "not broken"],
        ["good_1", "Gut_02", "normal-3", "OK4"],
    ],
    ids=" ".join,
)
def test_training_learns_from_all_folders_whose_names_say_nothing_of_defects(
    tmp_path: Path, folders: list[str]
) -> None:
    put(tmp_path, *(f"{folder}/1.png" for folder in folders))

    assert len(learned(tmp_path)) == len(folders)


@pytest.mark.parametrize(
    "folders",
    [
        ["good_1", "hole_1"],
        ["OK1", "hole_1"],
        ["Gut_01", "Schlecht_01"],
        ["2026-11-01 Ausschuss", "2026-11-01 Gut"],
        ["2026-11-01", "2026-11-01 Gut"],
        ["lot1/ok_left", "lot1/right"],
        ["day1/good_1", "day2/2026-11-01"],
        ["defect-free", "2026-11-01"],
        ["1", "Fehler1"],
        ["1", "Kratzer_2026"],
        ["1", "Riss 2"],
        ["1", "n_i_O 2"],
        ["1", "niO"],
        ["1", "Defekt7"],
        ["1", "AusschußTeile"],
        ["1", "BadParts2"],
        ["1", "NG_200"],
        ["1", "not_ok_no_scratch"],
        ["1", "crack_scratch-free"],
        ["1", "Kratzer Los 3"],
        ["1", "Ausschusslos 3"],
        ["1", "dents2"],
        ["1", "nicht in Ordnung 3"],
    ],
    ids=" ".join,
)
def test_training_refuses_folders_of_which_some_are_called_good_or_defective(
    tmp_path: Path, folders: list[str]
) -> None:
    put(tmp_path, *(f"{folder}/1.png" for folder in folders))

    with pytest.raises(DataError, match="expected good parts only"):
        learned(tmp_path)


@pytest.mark.parametrize("name", ["NOK", "test", "Testing", "val", "validation", "masks"])
def test_a_folder_that_is_refused_below_good_may_be_renamed(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"d6/good/{name}/1.png")

    with pytest.raises(
        DataError, match=r"Rename the folder if its parts are good, or move its pictures out of .*/d6/good"
    ):
        learned(tmp_path / "d6")
    (tmp_path / "d6/good" / name).rename(tmp_path / "d6/good/1")
    assert learned(tmp_path / "d6") == ["good/1/1.png"]


@pytest.mark.parametrize("names", [["NOK/1.png"], ["hole/1.png", "2.png"], ["good_1/1.png", "2.png"]], ids=" ".join)
def test_no_good_is_asked_for_within_a_given_good_folder(tmp_path: Path, names: list[str]) -> None:
    root = put(tmp_path / "d6/good", *names)

    with pytest.raises(DataError, match=r"Rename the folders if all their parts are good \(1, 2") as refusal:
        learned(root)
    assert "good/good" not in str(refusal.value)
    (root / names[0]).parent.rename(root / "1")
    assert len(learned(root)) == len(names)


@pytest.mark.parametrize(
    "names", [["bolt/1.png", "nut/1.png"], ["New folder/1.png", "1.png"], ["old/1.png", "1.png"]], ids=" ".join
)
def test_folders_that_may_be_classes_are_accepted_once_done_as_the_message_says(
    tmp_path: Path, names: list[str]
) -> None:
    root = put(tmp_path / "parts", *names)

    with pytest.raises(DataError, match=r"Put good parts into .*/parts/good, .* rename the folders: 1, 2"):
        learned(root)
    (tmp_path / "new").mkdir()
    root.rename(tmp_path / "new/good")
    assert len(learned(tmp_path / "new")) == len(names)


@pytest.mark.parametrize(
    ("names", "instead"),
    [
        pytest.param(["bottle/train/good/1.png", "bottle/test/broken/1.png"], "--data ROOT/bottle", id="one too high"),
        pytest.param(
            ["bottle/train/good/1.png", "bottle/test/good/1.png", "cable/train/good/1.png", "cable/test/cut/1.png"],
            "--data ROOT/bottle",
            id="MVTec root",
        ),
        pytest.param(["sets/a/Train/OK/1.png", "sets/a/Test/NG/1.png"], "--data ROOT/sets/a", id="two too high"),
        pytest.param(["cam1/good/1.png", "cam1/hole/1.png", "cam2/good/1.png"], "--data ROOT/cam1", id="good below"),
        pytest.param(["train/1.png", "test/1.png"], "--data ROOT/train", id="train without good"),
        pytest.param(
            ["train/1.png", "test/good/1.png", "test/bad/1.png"], "--data ROOT/train", id="test/good, flat train"
        ),
        pytest.param(["train/hole/1.png", "test/good/1.png"], "--data ROOT/train", id="test/good, train of one folder"),
        pytest.param(["test/good/1.png", "test/bad/1.png"], "ROOT/train/good", id="test/good alone"),
        pytest.param(["train/hole/1.png", "train/cut/1.png", "test/1.png"], "ROOT/good", id="classes in train"),
        pytest.param(["1.png", "ground_truth/crack/1_mask.png"], "ROOT/good", id="masks"),
        pytest.param(["1.png", "test/2.png"], "ROOT/good", id="a test folder"),
        pytest.param(["hole/1.png", "cut/1.png"], "ROOT/good", id="classes"),
        pytest.param(["1.png", "pictures/1.png"], "ROOT/good", id="pictures that were made from the others"),
        pytest.param(["images/hole/1.png", "images/cut/1.png"], "ROOT/good", id="classes below"),
        pytest.param(["cam1/1.png", "hole/1.png"], "ROOT/good", id="a camera and a class"),
        pytest.param(["class1/1.png", "class2/1.png"], "ROOT/good", id="numbered classes"),
        pytest.param(["lot1/1.png", "particles/1.png"], "ROOT/good", id="a class that begins like a lot"),
        pytest.param(["good1/1.png", "scratch/1.png"], "ROOT/good", id="good1 and scratch"),
        *[
            pytest.param(["2026-11-01/1.png", f"{name}/1.png"], "ROOT/good", id=name)
            for name in (
                "nok",
                "NG",
                "bad_3",
                "Defects",
                "defect7",
                "rejected2",
                "anomalies",
                "anomalous1",
                "scratch_1",
                "Scratches2",
                "not_good",
                "not ok 2",
                "n.i.O. 3",
                "crack2",
                "broken1",
                "lot7_bad",
                "faulty",
            )
        ],
        pytest.param(["bad/1.png"], "ROOT/good", id="bad alone"),
        pytest.param(["good/1.png", "good/scratch/2.png"], "ROOT/good", id="defects within good"),
        pytest.param(
            ["train/good/1.png", "train/good/NOK/2.png", "test/x/1.png"], "ROOT/train/good", id="within train"
        ),
    ],
)
def test_training_refuses_a_tree_that_mixes_in_defects_and_says_what_to_give_instead(
    tmp_path: Path, names: list[str], instead: str
) -> None:
    put(tmp_path, *names)

    with pytest.raises(DataError) as refusal:
        learned(tmp_path)
    assert instead.replace("ROOT", str(tmp_path)) in str(refusal.value)

    offered = re.search(r"Give .*: --data (.*)$", str(refusal.value))
    if offered:
        assert learned(Path(offered[1]))


def test_folders_that_are_all_learned_from_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "cam1/1.png", "cam2/1.png")

    with caplog.at_level(logging.WARNING):
        learned(tmp_path)

    assert "training on all 2 pictures as good parts, in the folders cam1, cam2" in caplog.text


def test_a_refusal_escapes_the_names_that_it_repeats(tmp_path: Path) -> None:
    put(tmp_path, "bad\x1b[2J/1.png", "2.png")

    with pytest.raises(DataError) as refusal:
        learned(tmp_path)
    assert "\x1b" not in str(refusal.value)


def test_a_single_picture_is_learned_from_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "bad.png")

    assert learned(tmp_path / "bad.png") == ["bad.png"]


TREE = [
    "train/good/1.png",
    "test/good/2.png",
    "test/crack/3.png",
    "test/crack/cam1/4.png",
    "ground_truth/crack/3_mask.png",
]
SIDE_BY_SIDE = ["good/1.png", "crack/2.png", "crack/cam1/3.png", "photos/4.png", "ok too/5.png", "2026-11-01/6.png"]


@pytest.mark.parametrize(
    ("names", "given", "found", "instead"),
    [
        pytest.param(TREE, "test/crack", "found test parts", "ROOT", id="a type of defect"),
        pytest.param(TREE, "test/crack/cam1", "found test parts", "ROOT", id="a folder below a type of defect"),
        pytest.param(TREE, "ground_truth/crack", "found masks", "", id="masks"),
        pytest.param(["train/1.png", "test/2.png"], "test", "found test parts", "ROOT/train", id="the test set"),
        pytest.param(["Train/OK/1.png", "Test/NG/2.png"], "Test/NG", "found test parts", "ROOT", id="Test/NG"),
        pytest.param(SIDE_BY_SIDE, "crack", "found the folder crack next to good", "ROOT/good", id="next to good"),
        pytest.param(SIDE_BY_SIDE, "crack/cam1", "the folder crack next to good", "ROOT/good", id="below crack"),
        pytest.param(SIDE_BY_SIDE, "photos", "found the folder photos next to good", "ROOT/good", id="any name"),
        pytest.param(
            ["ok/1.png", "nok/2.png"], "nok", "found the folder nok next to ok", "ROOT/ok", id="nok next to ok"
        ),
    ],
)
def test_a_folder_whose_place_states_that_it_holds_defects_is_refused(
    tmp_path: Path, names: list[str], given: str, found: str, instead: str
) -> None:
    root = put(tmp_path / "bottles", *names)

    with pytest.raises(DataError, match=found) as refusal:
        learned(root / given)

    offered = re.search(r"Give .*: --data (.*)$", str(refusal.value))
    assert (offered[1] if offered else "") == instead.replace("ROOT", str(root))
    assert not offered or learned(Path(offered[1]))


def test_a_relative_folder_is_answered_with_a_relative_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "parts", *TREE)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DataError, match=r"--data parts$"):
        learned(Path("parts/test/crack"))


@pytest.mark.parametrize(
    ("names", "given"),
    [
        pytest.param(TREE, "train", id="the training set"),
        pytest.param(TREE, "train/good", id="train/good"),
        pytest.param(TREE, "test/good", id="test/good, which a caller may choose"),
        pytest.param(SIDE_BY_SIDE, "good", id="good"),
        pytest.param(SIDE_BY_SIDE, "ok too", id="a name that means good"),
        pytest.param(SIDE_BY_SIDE, "2026-11-01", id="a lot next to good"),
        pytest.param(["photos/1.png", "other/2.png"], "photos", id="a plain folder"),
    ],
)
def test_a_folder_whose_name_and_place_state_no_defects_is_taken_without_a_warning(
    tmp_path: Path, names: list[str], given: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = put(tmp_path / "defect detection" / "bottles", *names)

    assert learned(root / given)
    assert "means defects" not in caplog.text


@pytest.mark.parametrize("given", ["scratches", "test", "test/wood", "NOK"])
def test_a_folder_whose_name_alone_means_defects_or_tests_is_taken_with_a_warning(
    tmp_path: Path, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    root = put(tmp_path / "bottles", f"{given}/1.png", "photos/1.png")

    assert learned(root / given) == ["1.png"]
    assert f"the name of the folder {given.partition('/')[0]} means defects or test parts" in caplog.text
