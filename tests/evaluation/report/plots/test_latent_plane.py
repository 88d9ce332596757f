"""Parts in the plane of their latent numbers."""

import numpy as np
import pytest

from andon.evaluation.figures.other_scores import OtherScores
from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.report.plots import latent_plane
from andon.runtime.items import Ref
from andon.runtime.schema import Status


def part(latent: tuple[float, ...], kind: str = "good", status: Status = Status.OK) -> JudgedPart:
    ref = Ref(key=f"{kind} {latent}")
    return JudgedPart(
        ref=ref, score=0.0, status=status, defective=kind != "good", kind=kind, other_scores=OtherScores({}, latent)
    )


def test_two_latent_numbers_are_the_plane_themselves() -> None:
    center, directions, names = latent_plane.axes_of(np.array([[5.0, 1.0], [2.0, 3.0]]))

    assert center.tolist() == [0, 0]
    assert directions.tolist() == [[1, 0], [0, 1]]
    assert names == ["latent number 1", "latent number 2"]


def test_more_are_seen_along_the_principal_axes_of_good_ones() -> None:
    points = np.random.default_rng(0).normal(size=(200, 3)) * [0.1, 5.0, 1.0] + 7

    center, directions, names = latent_plane.axes_of(points)

    assert center == pytest.approx(points.mean(axis=0))
    assert np.abs(directions).argmax(axis=1).tolist() == [1, 2]
    assert names[0].startswith("principal axis 1 of good parts (9")


def test_classes_are_told_and_invalid_ones_left_out() -> None:
    good = [part((float(n), 1.0)) for n in range(5)]
    bad = [part((9.0, float(n)), "drift") for n in range(3)] + [part((1.0, 1.0), "spike", Status.INVALID)]

    (section,) = latent_plane.section([*good, *bad], "window")

    assert section.pictures[0].alt == "Latent plane of 5 good windows and drift."


def test_a_file_that_gives_no_latent_numbers_or_one_has_no_plane() -> None:
    assert latent_plane.section([part(()), part(())], "part") == []
    assert latent_plane.section([part((1.0,)), part((2.0,))], "part") == []
