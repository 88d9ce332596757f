"""Packed pictures: the same bytes, names and verdicts as the folder."""

import io
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.archive.conftest import write_picture
from tests.archive.one_process import OneProcess
from tests.runtime.hand_made import frame

from andon.archive.pack import pack
from andon.archive.results import open_results
from andon.archive.score import open_archive, score_archive
from andon.foundation.errors import ConfigError, DataError


def test_a_packed_folder_has_the_bytes_names_and_labels_of_the_pictures(pictures: Path, tmp_path: Path) -> None:
    packed = pack(pictures, tmp_path / "p.parquet", line="L3", lot="A")

    table = pq.read_table(tmp_path / "p.parquet")
    assert (packed.pictures, packed.unreadable, packed.labelled) == (31, 0, True)
    assert packed.address == str(tmp_path / "p.parquet")
    for row in table.to_pylist():
        assert row["bytes"] == (pictures / row["item_id"]).read_bytes()
        assert row["label"] == row["item_id"].partition("/")[0]
        assert (row["line"], row["lot"]) == ("L3", "A")


def test_a_packed_folder_has_the_verdicts_of_the_folder(frame_model: Path, pictures: Path, tmp_path: Path) -> None:
    packed = pack(pictures, tmp_path / "p.parquet", shard_mb=0.05)
    assert len(packed.files) > 1

    score_archive(open_archive(frame_model, str(pictures), tmp_path / "a"), OneProcess())
    score_archive(open_archive(frame_model, packed.address, tmp_path / "b"), OneProcess())

    columns = ["item_id", "status", "reason", "score", "level", "p_value", "label", "captured_at"]
    one, other = (open_results(tmp_path / name).table(columns).sort_by("item_id") for name in ("a", "b"))
    assert one.to_pylist() == other.to_pylist()


def test_shards_hold_each_picture_once_and_have_similar_sizes(pictures: Path, tmp_path: Path) -> None:
    packed = pack(pictures, tmp_path / "p.parquet", shard_mb=0.05)

    names = [name for path in packed.files for name in pq.read_table(path).column("item_id").to_pylist()]
    sizes = [Path(path).stat().st_size for path in packed.files]
    assert len(names) == len(set(names)) == 31
    assert max(sizes) < 80_000
    assert Path(packed.files[0]).name == f"p-1-of-{len(sizes)}.parquet"


def test_the_time_of_a_photo_is_taken_from_its_exif_data_or_else_from_the_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2025:12:24 18:00:01"
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32)).save(buffer, "JPEG", exif=exif)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.jpg").write_bytes(buffer.getvalue())
    write_picture(tmp_path / "in/2.png", frame())

    pack(tmp_path / "in", tmp_path / "p.parquet")

    photo, other = pq.read_table(tmp_path / "p.parquet").column("captured_at").to_pylist()
    assert photo == datetime(2025, 12, 24, 18, 0, 1, tzinfo=UTC)
    assert abs(other.timestamp() - (tmp_path / "in/2.png").stat().st_mtime) < 1e-3


def test_a_broken_link_is_packed_as_a_row_without_bytes(frame_model: Path, tmp_path: Path) -> None:
    write_picture(tmp_path / "in/1.png", frame())
    (tmp_path / "in/2.png").symlink_to("absent.png")

    assert pack(tmp_path / "in", tmp_path / "p.parquet").unreadable == 1

    score_archive(open_archive(frame_model, str(tmp_path / "p.parquet"), tmp_path / "out"), OneProcess())
    assert open_results(tmp_path / "out").table(["status"]).column(0).to_pylist() == ["OK", "INVALID"]


def test_a_prefix_keeps_the_names_of_two_folders_apart(pictures: Path, tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        pack(pictures, tmp_path / f"{day}.parquet", prefix=f"{day}/")

    names = [pq.read_table(tmp_path / f"{day}.parquet")["item_id"].to_pylist() for day in ("monday", "tuesday")]

    assert names[0][0].startswith("monday/")
    assert not set(names[0]) & set(names[1])
    assert [name.removeprefix("monday/") for name in names[0]] == [name.removeprefix("tuesday/") for name in names[1]]


def test_an_existing_file_is_kept(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(b"precious")

    with pytest.raises(ConfigError, match="expected a new file, but it exists"):
        pack(pictures, tmp_path / "p.parquet")
    assert (tmp_path / "p.parquet").read_bytes() == b"precious"


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected pictures in this folder"):
        pack(tmp_path, tmp_path / "p.parquet")


def test_a_name_without_parquet_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a name that ends with \.parquet"):
        pack(pictures, tmp_path / "packed")


@pytest.mark.parametrize("damage", ["bomb", "date", "offset"])
def test_a_photo_with_a_damaged_head_is_packed_with_its_bytes(tmp_path: Path, damage: str) -> None:
    exif = Image.Exif()
    exif[0x0132] = "no date" if damage == "date" else "2026:01:01 00:00:00"
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32)).save(buffer, "JPEG", exif=exif)
    data = bytearray(buffer.getvalue())
    if damage == "bomb":
        size = data.index(b"\xff\xc0") + 5
        data[size : size + 4] = b"\xff\xdc" * 2  # height and width
    if damage == "offset":
        start = data.index(b"Exif\0") + 6
        data[start + 4 : start + 8] = b"\xff" * 4
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.jpg").write_bytes(data)

    packed = pack(tmp_path / "in", tmp_path / "p.parquet")

    assert (packed.pictures, packed.unreadable) == (1, 0)
    assert pq.read_table(tmp_path / "p.parquet").column("bytes").to_pylist() == [bytes(data)]


@pytest.mark.parametrize("second", [300_000_000_000, -300_000_000_000])
def test_a_file_of_a_year_that_python_does_not_know_is_packed_and_judged_without_a_time(
    frame_model: Path, tmp_path: Path, second: int
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        picture = Path(name) / "in/a.png"
        write_picture(picture, frame(0))
        os.utime(picture, (0, second))
        if picture.stat().st_mtime != second:
            pytest.skip("the file system does not keep such times")
        pack(picture.parent, tmp_path / "in.parquet")
        archive = open_archive(frame_model, str(picture.parent), tmp_path / "out")
        outcome = score_archive(archive, OneProcess())

    assert pq.read_table(tmp_path / "in.parquet")["captured_at"].to_pylist() == [None]
    assert outcome.complete
    assert open_results(tmp_path / "out").table()["captured_at"].to_pylist() == [None]
