"""Blocks of an input: each item in exactly one block, and the same blocks every time."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.archive.conftest import write_picture
from tests.runtime.hand_made import FRAME, WINDOW, frame

from andon.archive.block import LogBlock, PictureBlock, TableBlock, Version
from andon.archive.plan import ArchiveInput, TableFile, open_input
from andon.foundation.errors import ConfigError, DataError


@given(
    groups=st.lists(st.lists(st.integers(0, 50), max_size=8), min_size=1, max_size=4),
    block_rows=st.integers(1, 60),
)
def test_each_row_of_a_table_is_in_exactly_one_block(groups: list[list[int]], block_rows: int) -> None:
    files = [TableFile(f"{at}.parquet", Version(1, 1), tuple(sizes)) for at, sizes in enumerate(groups)]

    blocks = list(ArchiveInput("in", files, block_rows).blocks())

    rows = []
    for block in blocks:
        assert isinstance(block, TableBlock)
        assert 1 <= block.count <= block_rows
        sizes = groups[int(block.path.removesuffix(".parquet"))]
        first = sum(sizes[: block.groups[0]]) + block.start
        assert first + block.count <= sum(sizes[: block.groups[1]])
        rows += [(block.path, first + at) for at in range(block.count)]
    assert rows == [(f"{at}.parquet", row) for at, sizes in enumerate(groups) for row in range(sum(sizes))]


@given(count=st.integers(1, 40), block_rows=st.integers(1, 50))
def test_each_picture_is_in_exactly_one_block(count: int, block_rows: int) -> None:
    from andon.archive.block import PictureFile

    files = [PictureFile(f"{at}", f"/{at}", Version(1, 1)) for at in range(count)]

    blocks = list(ArchiveInput("in", files, block_rows).blocks())

    names = [file.item_id for block in blocks if isinstance(block, PictureBlock) for file in block.files]
    assert names == [str(at) for at in range(count)]


def test_a_folder_is_listed_in_natural_order_with_labels_of_a_known_layout(pictures: Path) -> None:
    (block,) = open_input(str(pictures), FRAME).blocks()

    assert isinstance(block, PictureBlock)
    assert [file.item_id for file in block.files][:4] == [
        "bright/0.png",
        "bright/1.png",
        "bright/2.png",
        "bright/3.png",
    ]
    assert [file.label for file in block.files] == ["bright"] * 11 + ["good"] * 20


def test_a_folder_of_another_layout_has_no_labels(tmp_path: Path) -> None:
    write_picture(tmp_path / "monday/1.png", frame())

    (block,) = open_input(str(tmp_path), FRAME).blocks()

    assert isinstance(block, PictureBlock)
    assert block.files[0].label is None


def test_a_list_names_pictures_relative_to_itself(tmp_path: Path) -> None:
    write_picture(tmp_path / "a/1.png", frame())
    (tmp_path / "list.txt").write_text("a/1.png\n\na/absent.png\n")

    (block,) = open_input(str(tmp_path / "list.txt"), FRAME).blocks()

    assert isinstance(block, PictureBlock)
    assert [(file.item_id, file.fault) for file in block.files] == [("a/1.png", ""), ("a/absent.png", "does not exist")]
    assert block.files[0].path == str(tmp_path.resolve() / "a/1.png")


def test_a_list_with_a_file_under_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"a.png\nb.png\n{tmp_path}/x/../a.png\n")

    with pytest.raises(DataError, match=r"expected each file once, got 'a\.png' and '.*/x/\.\./a\.png'. Remove one"):
        open_input(str(tmp_path / "list.txt"), FRAME)


def test_a_list_with_a_path_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png\nb.png\na.png\n")

    with pytest.raises(DataError, match=r"got 'a\.png' twice"):
        open_input(str(tmp_path / "list.txt"), FRAME)


def test_a_list_of_addresses_is_refused_with_what_works(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s3://bucket/a.png\n")

    with pytest.raises(DataError, match="Give the common address as INPUT"):
        open_input(str(tmp_path / "list.txt"), FRAME)


def test_tables_are_found_by_folder_pattern_and_list(tmp_path: Path) -> None:
    for name in ("b", "a"):
        pq.write_table(pa.table({"item_id": [f"{name}1"], "bytes": [b"x"]}), tmp_path / f"{name}.parquet")
    (tmp_path / "list.txt").write_text("a.parquet\nb.parquet\n")

    for address in (tmp_path, tmp_path / "*.parquet", tmp_path / "list.txt"):
        paths = [block.path for block in open_input(str(address), FRAME).blocks() if isinstance(block, TableBlock)]
        assert [Path(path).name for path in paths] == ["a.parquet", "b.parquet"]


def test_a_table_without_the_needed_columns_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["1"], "bytes": [b"x"]}), tmp_path / "a.parquet")

    with pytest.raises(DataError, match="expected the columns item_id and bytes, or item_id and uri, got name, bytes"):
        open_input(str(tmp_path / "a.parquet"), FRAME)


def test_pictures_and_tables_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "1.png", frame())
    pq.write_table(pa.table({"item_id": ["1"], "bytes": [b"x"]}), tmp_path / "a.parquet")

    with pytest.raises(DataError, match="got both"):
        open_input(str(tmp_path), FRAME)


@pytest.mark.parametrize(
    ("name", "got"), [("absent", "no such file or folder"), (".", "none of them"), ("x.zip", "another")]
)
def test_another_input_is_refused_with_the_kinds_that_work(tmp_path: Path, name: str, got: str) -> None:
    (tmp_path / "x.zip").write_bytes(b"")

    with pytest.raises(DataError, match=f"expected a folder of pictures, a list .* got .*{got}"):
        open_input(str(tmp_path / name), FRAME)


def test_a_log_is_divided_into_stretches_by_its_size(log: Path) -> None:
    size = log.stat().st_size

    blocks = list(open_input(str(log), WINDOW, block_rows=100).blocks())

    assert len(blocks) == -(-size // 6400)
    assert [(block.part, block.parts) for block in blocks if isinstance(block, LogBlock)] == [
        (part, len(blocks)) for part in range(len(blocks))
    ]


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="AWS_SECRET_ACCESS_KEY") as refusal:
        open_input("s3://me:hunter2@bucket/prefix", FRAME)

    assert "hunter2" not in str(refusal.value)


def test_an_address_with_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="got the option access_key"):
        open_input("s3://bucket/prefix?access_key=1", FRAME)


def test_a_table_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    names = ["item_id", "item_id", "bytes"]
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"]), pa.array([b"x"])], names=names), tmp_path / "in.parquet")

    with pytest.raises(DataError, match="expected each column once, got item_id 2 times"):
        open_input(str(tmp_path / "in.parquet"), FRAME)
