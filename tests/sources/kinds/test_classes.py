"""One folder per class: with its own split, or split by the seed."""

import threading
from pathlib import Path

import numpy as np
import pytest
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import ConfigError, DataError
from andon.runtime.schema import FrameSpec
from andon.sources.collection import Collection
from andon.sources.kinds.classes import SOURCE
from andon.sources.pictures.encode import write_png
from andon.sources.source import find
from andon.sources.stream_settings import NoSettings
from andon.sources.truth import Truth

GREY = FrameSpec(channels=1, size=(8, 8))


def put(root: Path, *keys: str) -> Path:
    for key in keys:
        write_png(root / key, np.full((6, 8), 90, np.uint8))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put(tmp_path, *(f"{name}/{number}.png" for name in ("a", "b", "c") for number in range(10)))


def opened(text: str) -> tuple[list[str], list[str], Truth]:
    """Return the training keys, the test keys and the truth."""
    assert find(text) == SOURCE
    assert SOURCE.collect is not None
    assert SOURCE.labelled is not None
    good, (tested, truth) = SOURCE.collect(text), SOURCE.labelled(text, None)
    return [ref.key for ref in good.refs], [ref.key for ref in tested.refs], truth  # type: ignore[union-attr]


def test_three_in_ten_of_every_class_are_tested_and_never_learnt_from(folder: Path) -> None:
    learnt, tested, truth = opened(f"classes:{folder},normal=a")

    assert len(learnt) == 7
    assert sorted(key[0] for key in tested) == list("aaabbbccc")
    assert not set(learnt) & set(tested)
    assert (
        {key for key in tested if truth.defective[key]} == {key for key in tested if key[0] != "a"} == set(truth.kind)
    )
    assert {truth.kind[key] for key in truth.kind} == {"b", "c"}


def test_another_split_seed_tests_others(folder: Path) -> None:
    first, second, again = (opened(f"classes:{folder},anomaly=c,split_seed={seed}")[1] for seed in (0, 1, 0))

    assert first == again != second


def test_a_split_that_is_there_is_kept(tmp_path: Path) -> None:
    put(tmp_path, "train/a/0.png", "train/b/0.png", "test/a/1.png", "test/b/1.png", "test/c/1.png")
    learnt, tested, truth = opened(f"classes:{tmp_path},normal=a+b")

    assert learnt == ["train/a/0.png", "train/b/0.png"]
    assert tested == ["test/a/1.png", "test/b/1.png", "test/c/1.png"]
    assert truth.kind == {"test/c/1.png": "c"}


def test_one_class_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected at least two classes, .* found a\."):
        opened(f"classes:{put(tmp_path, 'a/0.png')},normal=a")


def test_without_a_folder_the_mistake_is_named() -> None:
    with pytest.raises(ConfigError, match="expected a folder with one sub-folder per class"):
        opened("classes:normal=a")


def test_the_monitor_gets_what_is_tested_in_the_channels_of_its_file(folder: Path) -> None:
    text = f"classes:{folder},normal=a"
    assert SOURCE.stream is not None
    stop = threading.Event()
    items = SOURCE.stream(text, GREY, NoSettings(), FakeClock(), stop)
    first = next(items)

    assert first.data.shape == (6, 8, 1)  # type: ignore[union-attr]
    assert first.ref.key == opened(text)[1][0]
    stop.set()
    assert list(items) == []


def test_pages_and_tables_do_not_tell_where_it_lies(folder: Path) -> None:
    assert SOURCE.shown is not None
    assert SOURCE.shown(f"classes:{folder},normal=a,seed=3") == f"classes:{folder.name},normal=a,seed=3"


def test_frames_are_what_it_is_of(folder: Path) -> None:
    assert SOURCE.labelled is not None
    collection: Collection = SOURCE.labelled(f"classes:{folder},normal=a", 3)[0]
    assert collection.read(collection.refs[0]).data.shape == (6, 8, 3)  # type: ignore[union-attr]


def test_other_defects_never_make_what_was_learnt_from_a_part_to_test_on(folder: Path) -> None:
    learnt = {ref.key for ref in SOURCE.collect(f"classes:{folder},normal=a").refs}  # type: ignore[misc, union-attr]
    tested, _ = SOURCE.labelled(f"classes:{folder},normal=a,outlier_share=0.3,seed=1", None)  # type: ignore[misc]

    assert not learnt & {ref.key for ref in tested.refs}
