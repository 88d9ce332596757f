"""Labels of pictures: defective parts, their types of defect and their masks."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from andon.foundation.errors import DataError
from andon.sources.truth import table_truth, tree_truth


def put(path: Path, levels: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.zeros((6, 8), np.uint8) if levels is None else levels
    assert cv2.imwrite(str(path), picture)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:5] = 255
    for name in ("train/good/0.jpg", "test/good/0.jpg", "test/crack/0.jpg", "test/crack/1.jpg", "test/unmasked/0.jpg"):
        put(tmp_path / name)
    put(tmp_path / "ground_truth/crack/0_mask.png", mask)
    put(tmp_path / "ground_truth/crack/1_mask.png")
    return tmp_path


def test_a_tree_says_by_folder_what_is_defective_and_how(tree: Path) -> None:
    truth = tree_truth(tree)

    assert truth.defective == {
        "train/good/0.jpg": False,
        "test/good/0.jpg": False,
        "test/crack/0.jpg": True,
        "test/crack/1.jpg": True,
        "test/unmasked/0.jpg": True,
    }
    assert truth.kind == {"test/crack/0.jpg": "crack", "test/crack/1.jpg": "crack", "test/unmasked/0.jpg": "unmasked"}


def test_a_png_mask_belongs_to_the_jpg_of_its_stem(tree: Path) -> None:
    mask = tree_truth(tree).mask("test/crack/0.jpg")

    assert mask is not None
    assert mask.dtype == np.bool_
    assert np.argwhere(mask).tolist() == [[row, column] for row in (1, 2) for column in (2, 3, 4)]


def test_a_mask_may_be_empty_and_is_still_a_mask(tree: Path) -> None:
    mask = tree_truth(tree).mask("test/crack/1.jpg")

    assert mask is not None
    assert not mask.any()


def test_masks_behind_a_link_are_found(tree: Path, tmp_path: Path) -> None:
    (tree / "ground_truth/crack").rename(tmp_path / "elsewhere")
    (tree / "ground_truth/crack").symlink_to(tmp_path / "elsewhere")

    assert tree_truth(tree).mask("test/crack/0.jpg") is not None


@pytest.mark.parametrize("key", ["test/unmasked/0.jpg", "test/good/0.jpg", "train/good/0.jpg"])
def test_where_no_mask_is_known_there_is_none(tree: Path, key: str) -> None:
    assert tree_truth(tree).mask(key) is None


def test_the_test_folder_of_a_tree_finds_its_masks_too(tree: Path) -> None:
    truth = tree_truth(tree / "test")

    assert truth.kind["crack/0.jpg"] == "crack"
    assert truth.mask("crack/0.jpg") is not None


def test_masks_of_labels_zero_and_one_count_as_marked(tree: Path) -> None:
    labels = np.zeros((6, 8), np.uint8)
    labels[5, 7] = 1
    put(tree / "ground_truth/crack/0_mask.png", labels)

    mask = tree_truth(tree).mask("test/crack/0.jpg")
    assert mask is not None
    assert np.argwhere(mask).tolist() == [[5, 7]]


def test_good_beside_folders_of_defects_is_a_truth_too(tmp_path: Path) -> None:
    for name in ("good/0.png", "scratch/0.png", "stray.png"):
        put(tmp_path / name)

    truth = tree_truth(tmp_path)
    assert truth.defective == {"good/0.png": False, "scratch/0.png": True}
    assert truth.kind == {"scratch/0.png": "scratch"}


@pytest.mark.parametrize(
    ("good", "bad"), [("Good/0.png", "Scratch/0.png"), ("Train/OK/0.png", "Test/NG/0.png"), ("ok/0.png", "nok/0.png")]
)
def test_good_parts_are_good_however_their_folder_is_written(tmp_path: Path, good: str, bad: str) -> None:
    put(tmp_path / good)
    put(tmp_path / bad)

    assert tree_truth(tmp_path).defective == {good: False, bad: True}


def test_good_parts_alone_are_a_truth_too(tmp_path: Path) -> None:
    put(tmp_path / "good/0.png")

    assert tree_truth(tmp_path).defective == {"good/0.png": False}


def test_a_folder_that_says_nothing_is_refused_with_the_layouts_it_could_have(tmp_path: Path) -> None:
    put(tmp_path / "0.png")

    with pytest.raises(DataError, match=r"expected test/good and test/TYPE, or good/.*key,label"):
        tree_truth(tmp_path)


def test_a_table_joins_labels_by_key(tmp_path: Path) -> None:
    table = tmp_path / "truth.csv"
    table.write_text("\ufeffkey, label ,kind\r\na.png,good,\r\nb.png, NG ,crack\r\nc.png,1,\r\n", encoding="utf-8")

    truth = table_truth(table)
    assert truth.defective == {"a.png": False, "b.png": True, "c.png": True}
    assert truth.kind == {"b.png": "crack", "c.png": "defect"}


def test_a_table_in_another_encoding_is_refused_with_the_way_out(tmp_path: Path) -> None:
    table = tmp_path / "truth.csv"
    for encoding in ("utf-16", "latin-1"):
        table.write_text("key,label,kind\na.png,1,Riß\n", encoding=encoding)

        with pytest.raises(DataError, match=r"expected a CSV file in UTF-8, got another encoding\. Save it as UTF-8"):
            table_truth(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,kind\na,b\n", "expected columns key,label, got key,kind"),
        ("", "expected columns key,label, got nothing"),
        ("key,label\na.png,good\nb.png,gud\n", "line 3: expected good or defect.*'gud'.*did you mean 'good'"),
        ("key,label\na.png,good\na.png,bad\n", "line 3: expected one label for each key, .* for 'a.png'"),
        ("key,label\na.png,\n", "line 2: expected a value for each of key,label, got an empty cell"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "truth.csv"
    table.write_text(text)

    with pytest.raises(DataError, match=message):
        table_truth(table)


def test_a_table_of_a_spreadsheet_with_semicolons_is_read(tmp_path: Path) -> None:
    table = tmp_path / "truth.csv"
    table.write_text("key;label\na.png;good\n\nb.png;bad\n", encoding="utf-8")

    assert table_truth(table).defective == {"a.png": False, "b.png": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,label\n\na.png,good\n\nb.png,\n", "line 5: expected a value for each of key,label"),
        ('key,label\n\n"a\n.png",good\nb.png,fine\n', "line 5: expected good or defect"),
        ("key,label\na.png\n", "line 2: expected a value"),
        ('key,label\na.png,"' + "x" * 140_000, "line 2: expected a row of CSV"),
        ('key,"label' + "x" * 140_000, "line 1: expected a row of CSV"),
    ],
)
def test_a_fault_of_a_table_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "truth.csv"
    table.write_text(text, encoding="utf-8")

    with pytest.raises(DataError, match=message):
        table_truth(table)
