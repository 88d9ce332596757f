"""idx files: read as their header states, checked against digests, and unpacked only into the cache."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.sources.labelled.cache_folder import cache_folder
from andon.sources.labelled.class_set import Request
from andon.sources.labelled.idx_set import IdxSet, Sums, open_idx, read_idx

REQUEST = Request(normal="0")


def idx(array: NDArray[np.uint8]) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IdxSet:
    """Write a set of twelve pictures, packed below tmp_path/root, and a cache next to it."""
    monkeypatch.setenv("ANDON_CACHE", str(tmp_path / "cache"))
    raw = tmp_path / "root" / "Digits" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    sums = {}
    for part, count in (("train", 8), ("t10k", 4)):
        arrays = {
            "images-idx3": random.integers(0, 256, (count, 5, 6), dtype=np.uint8),
            "labels-idx1": np.arange(count, dtype=np.uint8) % 2,
        }
        for kind, array in arrays.items():
            name, data = f"{part}-{kind}-ubyte", idx(array)
            packed = gzip.compress(data, mtime=0)
            (raw / f"{name}.gz").write_bytes(packed)
            sums[name] = Sums(md5(packed), md5(data))
    return IdxSet(name="digits", folder="Digits", classes=("0", "1"), sums=sums)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("place", ["root", "root/Digits", "root/Digits/raw"])
def test_packed_files_are_found_and_unpacked_into_the_cache_only(known: IdxSet, tmp_path: Path, place: str) -> None:
    before = files(tmp_path / "root")
    opened = open_idx(known, Request(normal="0", root=str(tmp_path / place)))

    assert len(opened.train.keys) == 8
    assert opened.test.classes.tolist() == [0, 1, 0, 1]
    assert files(tmp_path / "root") == before
    assert files(tmp_path / "cache") == [f"digits/Digits/raw/{name}" for name in sorted(known.sums)]


def test_what_was_unpacked_once_needs_no_root_any_more(known: IdxSet, tmp_path: Path) -> None:
    first = open_idx(known, Request(normal="0", root=str(tmp_path / "root")))
    again = open_idx(known, REQUEST)

    key = first.test.keys[2]
    one, two = (chosen.open([key], None) for chosen in (first, again))
    assert np.array_equal(one.read(one.refs[0]).data, two.read(two.refs[0]).data)  # type: ignore[union-attr]


def test_a_damaged_file_is_refused_with_both_digests(known: IdxSet, tmp_path: Path) -> None:
    path = tmp_path / "root" / "Digits" / "raw" / "t10k-labels-idx1-ubyte.gz"
    damaged = path.read_bytes()[:-1] + b"x"
    path.write_bytes(damaged)

    with pytest.raises(DataError, match=f"with MD5 {known.sums[path.stem].packed}, got {md5(damaged)}"):
        open_idx(known, Request(normal="0", root=str(tmp_path / "root")))


def test_a_copy_in_the_cache_that_was_damaged_is_made_anew(known: IdxSet, tmp_path: Path) -> None:
    request = Request(normal="0", root=str(tmp_path / "root"))
    name = "train-labels-idx1-ubyte"
    open_idx(known, request)
    copy = tmp_path / "cache" / "digits" / "Digits" / "raw" / name
    copy.write_bytes(b"cut off")
    open_idx(known, request)

    assert md5(copy.read_bytes()) == known.sums[name].unpacked


def test_a_cache_that_cannot_be_written_is_told_with_what_moves_it(known: IdxSet, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")

    with pytest.raises(ConfigError, match=r"cannot be written: .* Set ANDON_CACHE to a folder for unpacked data"):
        open_idx(known, Request(normal="0", root=str(tmp_path / "root")))


def test_a_download_goes_where_the_root_says(known: IdxSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Path]] = []
    monkeypatch.setattr(
        "andon.sources.labelled.idx_set.torchvision_set", lambda name, folder: asked.append((name, folder))
    )

    open_idx(known, Request(normal="0", root=str(tmp_path / "root"), download=True))

    assert asked == [("Digits", tmp_path / "root")]


def test_what_is_missing_is_told_with_what_to_give(known: IdxSet, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"expected Digits/raw/train-images-idx3-ubyte, .* Give root=PATH, .* or download"
    ):
        open_idx(known, REQUEST)
    with pytest.raises(DataError, match="Give the folder that contains Digits/raw, or download=true"):
        open_idx(known, Request(normal="0", root=str(tmp_path / "elsewhere")))


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\x0d\x01\0\0\0\x01xxxx", idx(np.zeros((3, 2), np.uint8))[:-1], b"\0\0\x08\0"]
)
def test_what_is_no_whole_idx_file_of_bytes_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)

    with pytest.raises(DataError, match="expected a complete idx file of bytes"):
        read_idx(path)


def test_an_idx_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    (tmp_path / "x").write_bytes(idx(array))

    assert np.array_equal(read_idx(tmp_path / "x"), array)


@pytest.mark.parametrize(
    ("environment", "platform", "place"),
    [
        ({"ANDON_CACHE": "c", "XDG_CACHE_HOME": "x"}, "linux", "c"),
        ({"XDG_CACHE_HOME": "x"}, "linux", "x/andon"),
        ({"LOCALAPPDATA": "l"}, "win32", "l/andon/cache"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_caches_unless_told_otherwise(
    environment: dict[str, str], platform: str, place: str
) -> None:
    assert cache_folder(environment, platform=platform).as_posix() == place


def test_without_anything_said_the_cache_is_below_the_home() -> None:
    assert cache_folder({}, platform="linux") == Path.home() / ".cache" / "andon"
    assert cache_folder({}, platform="darwin") == Path.home() / "Library" / "Caches" / "andon"
