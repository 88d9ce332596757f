"""A path is opened as a collection that a given model file can judge."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item
from andon.runtime.schema import Channel, FrameSpec, WindowSpec
from andon.sources.opening import good_for, labelled_for, open_for, shown, truth_of
from andon.sources.source import find

COLOUR, GREY = (FrameSpec(channels=channels, size=(8, 8)) for channels in (3, 1))
WINDOWS = WindowSpec(steps=4, hop=2, period_s=1.0, channels=(Channel(name="b"),))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("train/good/0.png", "test/good/0.png", "test/hole/0.png", "ground_truth/hole/0_mask.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((20, 30), 90, np.uint8))
    return tmp_path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text("time,a,b\n" + "".join(f"{row},{row},{10 * row}\n" for row in range(10)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("part", "keys"),
    [
        ("everything", ["test/good/0.png", "test/hole/0.png", "train/good/0.png"]),
        ("evaluation", ["test/good/0.png", "test/hole/0.png"]),
    ],
)
def test_a_tree_is_opened_whole_or_by_its_test_part(part: str, keys: list[str], tree: Path) -> None:
    opened = open_for(str(tree), COLOUR, part="evaluation" if part == "evaluation" else "everything")

    assert [ref.key for ref in opened.refs] == keys


@pytest.mark.parametrize("spec", [COLOUR, GREY], ids=["colour", "grey"])
def test_grey_pictures_come_in_the_channels_of_the_model(spec: FrameSpec, tree: Path) -> None:
    opened = open_for(str(tree / "test/good/0.png"), spec)

    item = opened.read(opened.refs[0])
    assert isinstance(item, Item)
    assert item.data.shape == (20, 30, spec.channels)


@pytest.mark.parametrize("spec", [COLOUR, GREY], ids=["colour", "grey"])
def test_videos_come_in_the_channels_of_the_model(spec: FrameSpec, tmp_path: Path) -> None:
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (48, 32))
    for level in (50, 150):
        writer.write(np.full((32, 48, 3), level, np.uint8))
    writer.release()

    opened = open_for(str(path), spec)

    item = opened.read(opened.refs[1])
    assert isinstance(item, Item)
    assert item.data.shape == (32, 48, spec.channels)


def test_a_log_is_cut_as_the_model_says_and_keeps_only_its_channels(log: Path) -> None:
    opened = open_for(str(log), WINDOWS)

    items = [opened.read(ref) for ref in opened.refs]
    assert [item.data.tolist() for item in items if isinstance(item, Item)] == [
        [[10.0 * row] for row in range(begin, begin + 4)] for begin in (0, 2, 4, 6)
    ]


def test_a_simulation_is_opened_by_its_name() -> None:
    spec = WindowSpec(steps=4, hop=4, period_s=0.1, channels=(Channel(name="current"),))

    with pytest.raises(DataError, match="no channel 'nonsense'"):
        open_for(
            "power_converter:runs=2,rows=8",
            WindowSpec(steps=4, hop=4, period_s=0.1, channels=(Channel(name="nonsense"),)),
        )
    assert len(open_for("power_converter:runs=2,rows=8", spec).refs) == 4


def test_a_log_for_a_model_of_frames_is_refused(log: Path) -> None:
    with pytest.raises(ConfigError, match=r"log\.csv: this model file judges frames: .* got rows .* the source logs"):
        open_for(str(log), COLOUR)


def test_pictures_for_a_model_of_windows_are_refused(tree: Path) -> None:
    with pytest.raises(ConfigError, match=r"judges windows of sensor data: .*, got frames from the source images"):
        open_for(str(tree), WINDOWS)


def test_a_source_that_only_streams_is_refused() -> None:
    with pytest.raises(ConfigError, match="only streams"):
        open_for("-", WINDOWS)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no-such: does not exist"):
        open_for(str(tmp_path / "no-such"), COLOUR)


def test_an_address_that_nobody_accepts_is_told_without_its_password() -> None:
    with pytest.raises(DataError) as refusal:
        find("rtmp://admin:hunter2@10.0.0.7/live?token=abc")

    assert "rtmp://***@10.0.0.7/live?***: is not a source that andon can open" in str(refusal.value)


@pytest.fixture
def classes(tmp_path: Path) -> str:
    """Five pictures of each of two classes; class a is good."""
    for name in ("a", "b"):
        for number in range(5):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), np.full((20, 30), 90, np.uint8))
    return f"classes:{tmp_path},normal=a"


def test_a_source_that_knows_the_truth_is_asked_for_it(classes: str) -> None:
    collection, truth = labelled_for(classes, GREY)

    assert {ref.key[0]: truth.defective[ref.key] for ref in collection.refs} == {"a": False, "b": True}
    assert truth == truth_of(classes)
    assert [ref.key for ref in open_for(classes, GREY).refs] == [ref.key for ref in collection.refs]
    assert {ref.key[0] for ref in good_for(classes, GREY).refs} == {"a"}


def test_a_tree_tells_the_truth_by_its_folders_and_a_table_before_it(tree: Path, tmp_path: Path) -> None:
    table = tmp_path / "truth.csv"
    table.write_text("key,label,kind\ntest/good/0.png,defect,dent\n", encoding="utf-8")

    assert labelled_for(str(tree), COLOUR)[1].kind == truth_of(str(tree)).kind == {"test/hole/0.png": "hole"}
    assert labelled_for(str(tree), COLOUR, table=table)[1].kind == truth_of(str(tree), table=table).kind
    assert truth_of(str(tree), table=table).kind == {"test/good/0.png": "dent"}


def test_a_class_set_is_no_data_for_windows(classes: str) -> None:
    with pytest.raises(ConfigError, match=r"judges windows of sensor data: .*, got frames from the source classes"):
        labelled_for(classes, WINDOWS)


def test_what_others_read_has_no_folders_in_it(classes: str, tree: Path) -> None:
    assert shown(str(tree / "train")) == "train"
    assert shown(classes) == f"classes:{tree.name},normal=a"
    assert shown("power_converter:rows=100") == "power_converter:rows=100"
    assert shown("nowhere/x") == "nowhere/x"


def test_labels_of_a_table_leave_the_masks_of_the_tree_where_they_are(tree: Path, tmp_path: Path) -> None:
    table = tmp_path / "truth.csv"
    table.write_text("key,label,kind\ntest/good/0.png,good,\ntest/hole/0.png,bad,drill\n", encoding="utf-8")

    truth = labelled_for(str(tree), COLOUR, table=table)[1]

    assert truth.kind == {"test/hole/0.png": "drill"}
    assert truth.mask("test/hole/0.png") is not None
    table.write_text("key,label\ngood/0.png,good\nhole/0.png,bad\n", encoding="utf-8")
    assert labelled_for(str(tree / "test"), COLOUR, table=table)[1].mask("hole/0.png") is not None


def test_masks_that_belong_to_nothing_in_the_table_are_told(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "truth.csv"
    table.write_text("key,label\ntest/good/0.png,bad\ntest/hole/0.png,good\n", encoding="utf-8")

    assert not labelled_for(str(tree), COLOUR, table=table)[1].masks
    assert "no mask in ground_truth belongs to a defective part" in caplog.text


def test_a_tree_of_a_test_part_alone_can_be_evaluated_on_and_not_learnt_from(tree: Path) -> None:
    shutil.rmtree(tree / "train")

    collection, truth = labelled_for(str(tree), COLOUR)

    assert [ref.key for ref in collection.refs] == ["test/good/0.png", "test/hole/0.png"]
    assert truth.defective == {"test/good/0.png": False, "test/hole/0.png": True}
    assert truth.kind == {"test/hole/0.png": "hole"}
    assert truth.mask("test/hole/0.png") is not None
    assert [ref.key for ref in good_for(str(tree), COLOUR).refs] == ["test/good/0.png"]
    with pytest.raises(DataError, match=r"no train/good\. Training on test parts is refused"):
        find(str(tree)).collect(str(tree))  # type: ignore[misc]
