"""CIFAR-10: a generated subset in two tall pictures is read, and a folder with neither layout is refused."""

import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Item
from andon.sources.collection import FoundFrames
from andon.sources.kinds import cifar10
from andon.sources.labelled.class_set import digest_of
from andon.sources.pictures.encode import write_png
from andon.sources.source import find


def subset(folder: Path, train: int = 6, test: int = 4) -> Path:
    """Write a subset in which the colour of a picture is its class: red 10 * class, green 100, blue 200."""
    labels = {"train": np.arange(train, dtype=np.uint8) % 3, "test": np.arange(test, dtype=np.uint8) % 3}
    for part, classes in labels.items():
        tall = np.empty((len(classes), 32, 32, 3), np.uint8)
        tall[..., 0], tall[..., 1], tall[..., 2] = 10 * classes[:, None, None], 100, 200
        write_png(folder / f"{part}.png", tall.reshape(-1, 32, 3))
    names = np.array(["airplane", "bird", "cat"])
    np.savez(folder / "labels.npz", y_train=labels["train"], y_test=labels["test"], classes=names)
    return folder


def test_a_subset_is_read_in_rgb_and_its_size_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cifar10._warn_once.cache_clear()
    text = f"cifar10:normal=bird,root={subset(tmp_path)}"
    source = find(text)
    assert source.collect is not None
    assert source.labelled is not None
    good, (tested, truth) = source.collect(text), source.labelled(text, None)

    assert [ref.key for ref in good.refs] == ["train/00001", "train/00004"]  # type: ignore[union-attr]
    item = good.read(good.refs[0])  # type: ignore[union-attr]
    assert isinstance(item, Item)
    assert item.data[5, 7].tolist() == [10, 100, 200]
    assert tested.found == FoundFrames(channels=3, frame_size=(32, 32), largest=(32, 32))
    assert truth.kind == {"test/00000": "airplane", "test/00002": "cat", "test/00003": "airplane"}
    assert caplog.text.count("a subset, 6 training and 4 test pictures") == 1


@pytest.mark.parametrize("missing", ["train.png", "test.png"])
def test_half_a_subset_is_refused(tmp_path: Path, missing: str) -> None:
    (subset(tmp_path) / missing).unlink()

    with pytest.raises(DataError, match=f"{missing}: expected this file next to labels.npz"):
        cifar10.SOURCE.collect(f"cifar10:normal=0,root={tmp_path}")  # type: ignore[misc]


def test_labels_that_would_need_pickle_are_refused(tmp_path: Path) -> None:
    np.savez(subset(tmp_path) / "labels.npz", y_train=np.array([{}], object))

    with pytest.raises(DataError, match="expected arrays y_train, y_test and classes"):
        cifar10.SOURCE.collect(f"cifar10:normal=0,root={tmp_path}")  # type: ignore[misc]


def test_pictures_of_another_width_are_refused(tmp_path: Path) -> None:
    write_png(subset(tmp_path) / "test.png", np.zeros((64, 33, 3), np.uint8))

    with pytest.raises(DataError, match="expected stacked pictures of 32 x 32, got 64 x 33 \\(height x width\\)"):
        cifar10.SOURCE.collect(f"cifar10:normal=0,root={tmp_path}")  # type: ignore[misc]


def test_a_folder_without_either_layout_is_told_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected cifar-10-batches-py, cifar-10-python.tar.gz, or train.png"):
        cifar10.SOURCE.collect(f"cifar10:normal=0,root={tmp_path}")  # type: ignore[misc]


def packed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root with an archive of one file that passes as the published one. Nothing is read by torchvision."""
    batches = folder / "packed" / cifar10.BATCHES
    batches.mkdir(parents=True)
    (batches / "data_batch_1").write_bytes(b"pictures")
    root = folder / "root"
    root.mkdir()
    with tarfile.open(root / cifar10.ARCHIVE, "w:gz") as archive:
        archive.add(batches, cifar10.BATCHES)
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", digest_of(root / cifar10.ARCHIVE))
    monkeypatch.setenv("ANDON_CACHE", str(folder / "cache"))
    part = SimpleNamespace(data=np.zeros((1, 32, 32, 3), np.uint8), targets=[0])
    monkeypatch.setattr(cifar10, "torchvision_set", lambda *_args, **_kinds: part)
    return root


def test_an_archive_is_unpacked_into_the_cache_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, cache = f"cifar10:normal=0,root={packed(tmp_path, monkeypatch)}", tmp_path / "cache" / "cifar10"
    with monkeypatch.context() as torn:
        torn.setattr(tarfile.TarFile, "extractall", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cifar10.SOURCE.collect(text)  # type: ignore[misc]
    assert list(cache.iterdir()) == []

    cifar10.SOURCE.collect(text)  # type: ignore[misc]

    assert [path.relative_to(cache).as_posix() for path in sorted(cache.rglob("*"))] == [
        cifar10.BATCHES, f"{cifar10.BATCHES}/data_batch_1",
    ]  # fmt: skip


def test_an_archive_is_unpacked_by_pythons_without_filters_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check Python 3.11.0 to 3.11.3, which do not have `filter`."""
    text, cache = f"cifar10:normal=0,root={packed(tmp_path, monkeypatch)}", tmp_path / "cache" / "cifar10"
    extractall = tarfile.TarFile.extractall

    def old(archive: tarfile.TarFile, path: str) -> None:
        extractall(archive, path, filter="data")

    monkeypatch.setattr(tarfile.TarFile, "extractall", old)
    monkeypatch.delattr(tarfile, "data_filter")

    cifar10.SOURCE.collect(text)  # type: ignore[misc]

    assert (cache / cifar10.BATCHES / "data_batch_1").is_file()


def interrupted(_archive: tarfile.TarFile, path: str, **_kinds: object) -> None:
    (Path(path) / cifar10.BATCHES).mkdir()
    raise KeyboardInterrupt


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = packed(tmp_path, monkeypatch)
    (tmp_path / "cache").write_bytes(b"a file")

    with pytest.raises(ConfigError, match=r"cannot be unpacked there: .* ANDON_CACHE"):
        cifar10.SOURCE.collect(f"cifar10:normal=0,root={root}")  # type: ignore[misc]


def test_an_archive_that_is_not_the_published_one_is_not_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / cifar10.ARCHIVE, "w:gz"):
        pass

    with pytest.raises(DataError, match=f"expected MD5 {cifar10.ARCHIVE_MD5}"):
        cifar10.SOURCE.collect(f"cifar10:normal=0,root={tmp_path}")  # type: ignore[misc]
    assert [path.name for path in tmp_path.iterdir()] == [cifar10.ARCHIVE]


@pytest.mark.slow  # torchvision is imported
def test_batches_that_are_damaged_are_refused(tmp_path: Path) -> None:
    (tmp_path / cifar10.BATCHES).mkdir()
    (tmp_path / cifar10.BATCHES / "data_batch_1").write_bytes(b"x")

    with pytest.raises(DataError, match="torchvision's CIFAR10 cannot be read: Dataset not found or corrupted"):
        cifar10.SOURCE.collect(f"cifar10:normal=0,root={tmp_path}")  # type: ignore[misc]
