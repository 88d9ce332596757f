"""Labelled classes as good parts and defects: the training set, the test set and their sizes."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.sources.collection import FoundFrames
from andon.sources.labelled.class_set import ArrayPictures, ClassSet, Request, array_set, evaluated, good_keys, parse

NAMES = ("a", "b", "c")


def a_set(train: Sequence[int] = (0, 1, 2) * 10, test: Sequence[int] = (0, 0, 1, 2) * 25) -> ClassSet:
    def part(classes: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        labels = np.array(classes, np.uint8)
        return np.broadcast_to(labels[:, None, None, None], (len(labels), 4, 4, 1)).copy(), labels

    return array_set(NAMES, part(train), part(test))


def test_one_class_is_good_and_all_others_are_defects_of_their_kind() -> None:
    keys, truth = evaluated(a_set(), parse("x", "x:normal=b"))

    assert len(keys) == 100
    assert sum(not truth.defective[key] for key in keys) == 25
    assert set(truth.kind.values()) == {"a", "c"}
    assert {truth.kind[key] for key in keys[:2]} == {"a"}


def test_one_class_left_out_is_the_only_kind_of_defect() -> None:
    keys, truth = evaluated(a_set(), parse("x", "x:anomaly=2"))

    assert sum(truth.defective[key] for key in keys) == 25
    assert set(truth.kind.values()) == {"c"}


@pytest.mark.parametrize(("text", "classes"), [("x:normal=a", {0}), ("x:anomaly=a", {1, 2}), ("x:normal=a+2", {0, 2})])
def test_only_training_pictures_of_good_classes_are_learnt_from(text: str, classes: set[int]) -> None:
    chosen = a_set()
    keys = good_keys(chosen, parse("x", text))
    learnt = chosen.open(keys, None)

    pictures = [learnt.read(ref) for ref in learnt.refs]
    assert {int(item.data[0, 0, 0]) for item in pictures} == classes  # type: ignore[union-attr]
    assert all(key.startswith("train/") for key in keys)
    assert len(keys) == 10 * len(classes)


@given(share=st.floats(0.02, 0.49), seed=st.integers(0, 1000))
def test_defects_are_drawn_to_the_stated_share_and_good_parts_never(share: float, seed: int) -> None:
    chosen = a_set()
    every, _ = evaluated(chosen, Request(normal="a"))
    keys, truth = evaluated(chosen, Request(normal="a", outlier_share=share, seed=seed))

    defects = sum(truth.defective[key] for key in keys)
    assert len(keys) - defects == 50
    assert abs(defects - 50 * share / (1 - share)) <= 0.5
    assert [key for key in every if key in set(keys)] == keys
    assert keys == evaluated(chosen, Request(normal="a", outlier_share=share, seed=seed))[0]


def test_another_seed_draws_other_defects() -> None:
    drawn = [tuple(evaluated(a_set(), Request(normal="a", outlier_share=0.2, seed=seed))[0]) for seed in (0, 1)]

    assert drawn[0] != drawn[1]


def test_a_share_that_there_are_not_enough_defects_for_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"needs 200 defects for 50 good parts, but the set has 50\. Give a share from .* to 0\.5"
    ):
        evaluated(a_set(), Request(normal="a", outlier_share=0.8))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", r"expected either the good classes \(x:normal=CLASS\)"),
        ("x:normal=a,anomaly=b", "got both"),
        ("x:normal=a,sed=3", r"unknown setting 'sed' \(did you mean 'seed'"),
        ("x:normal=a,seed=few", "expected a number for 'seed', got 'few'"),
        ("x:normal=a,download=1", "expected true or false"),
        ("x:normal=a,outlier_share=1.5", "outlier_share"),
        ("x:normal=d", r"expected a class name \(a, b, c\) or its number, got 'd'"),
        ("x:normal=3", "or its number, got '3'"),
        ("x:normal=a+b+c", "got only good ones"),
        ("x:anomaly=a+b+c", "got only defective ones"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        good_keys(a_set(), parse("x", text))


@given(root=st.from_regex(r"[a-z/. ][a-z/., +-]{0,20}[a-z]", fullmatch=True))
def test_a_path_may_hold_commas_and_blanks(root: str) -> None:
    for text in (f"x:normal=a,root={root},seed=3", f"x:{root},normal=a,seed=3"):
        request = parse("x", text)

        assert (request.root, request.normal, request.seed) == (root.strip(), "a", 3)


def test_a_class_without_training_pictures_cannot_be_learnt() -> None:
    with pytest.raises(DataError, match="no training picture of a"):
        good_keys(a_set(train=[1, 2]), Request(normal="a"))


def test_labels_that_do_not_fit_the_pictures_are_refused() -> None:
    pictures, labels = np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 3], np.uint8)
    with pytest.raises(DataError, match="0 to 2 for each picture, got 3 pictures and 3 labels up to 3"):
        array_set(NAMES, (pictures, labels), (pictures, labels))


def test_grey_pictures_become_colour_ones_for_a_file_that_wants_them() -> None:
    grey, colour = (ArrayPictures({"train": np.full((1, 4, 6, 1), 7, np.uint8)}, ["train/00000"], channels=wanted)
                    for wanted in (None, 3))  # fmt: skip

    assert grey.found.channels == 1
    assert colour.found.channels == 3
    assert grey.found.frame_size == colour.found.frame_size == (4, 6)
    assert colour.read(colour.refs[0]).data.tolist() == np.full((4, 6, 3), 7).tolist()  # type: ignore[union-attr]
    assert a_set().open(["train/00000"], 3).found == FoundFrames(channels=3, frame_size=(4, 4), largest=(4, 4))
