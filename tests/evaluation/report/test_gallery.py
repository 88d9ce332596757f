"""The parts in the galleries, and their pictures."""

import math
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.calibration.parts import Frame, Parts
from tests.runtime.hand_made import FRAME, frame, model_bytes

from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.report import gallery
from andon.evaluation.report.page import Exhibit, status_tone
from andon.runtime import Detector, Status, Verdict
from andon.runtime.heat_map import colours
from andon.runtime.items import Item, Lost, Ref
from andon.sources.truth import Truth

WHOLE = (0.0, 0.0, 1.0, 1.0)


class Rebuilding(Detector):
    """Return the hand-made detector, with a reconstruction of grey level 200 everywhere."""

    def __call__(self, item: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Verdict:
        verdict = super().__call__(item)
        rebuilt = np.full((8, 8, 3), 200.0, np.float32)
        return msgspec.structs.replace(verdict, evidence={**verdict.evidence, "reconstruction": rebuilt})


class Counting(Parts):
    """A collection that records which of its frames were read."""

    def __init__(self, frames: "dict[str, Frame | None]") -> None:
        super().__init__(frames)
        self.asked: list[str] = []

    def read(self, ref: Ref) -> Item | Lost:
        self.asked.append(ref.key)
        return super().read(ref)


def part(key: str, score: float, *, defective: bool = False, kind: str = "", threshold: float = 1.0) -> JudgedPart:
    status = Status.INVALID if math.isnan(score) else Status.REJECT if score > threshold else Status.OK
    return JudgedPart(ref=Ref(key=key), score=score, status=status, defective=defective, kind=kind or "good")


def keys(chosen: gallery.Gallery) -> list[str]:
    return [one.ref.key for one in chosen.parts]


parts = st.lists(
    st.tuples(st.integers(0, 20).map(lambda tenth: tenth / 10), st.booleans(), st.sampled_from("abc")), max_size=40
).map(
    lambda rows: [
        part(f"{place:02}", score, defective=defective, kind=kind if defective else "good")
        for place, (score, defective, kind) in enumerate(rows)
    ]
)


@given(parts, st.integers(1, 5), st.randoms())
def test_the_choice_is_that_of_sorting_everything_in_whatever_order_parts_came(
    judged: list[JudgedPart], each: int, random: object
) -> None:
    shuffled = list(judged)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    good = [one for one in judged if not one.defective]
    defects = [one for one in judged if one.defective]
    wrong_good = [one for one in good if one.status == Status.REJECT] or good
    wrong_defects = [one for one in defects if one.status != Status.REJECT] or defects

    chosen = {some.name: keys(some) for some in gallery.choose(shuffled, each)}

    worst = sorted(wrong_good, key=lambda one: (-one.score, one.ref.key))[:each]
    assert chosen.get("false-reject", chosen.get("good", [])) == [one.ref.key for one in worst]
    weakest = sorted(wrong_defects, key=lambda one: (one.score, one.ref.key))[:each]
    assert chosen.get("miss", chosen.get("defect", [])) == [one.ref.key for one in weakest]


def test_false_rejects_and_misses_are_shown_worst_first() -> None:
    judged = [
        part("g0", 0.2),
        part("g1", 1.5),
        part("g2", 3.0),
        *[part(f"d{n}", n / 2, defective=True, kind="a") for n in range(5)],
    ]

    false_rejects, misses, types = gallery.choose(judged)

    assert (false_rejects.title, keys(false_rejects)) == ("False rejects", ["g2", "g1"])
    assert (misses.title, keys(misses)) == ("Misses", ["d0", "d1", "d2"])
    assert keys(types) == ["d0"]


def test_where_nothing_went_wrong_what_came_nearest_is_shown_and_named_so() -> None:
    judged = [
        part("g0", 0.2),
        part("g1", 0.9),
        part("d0", 5.0, defective=True, kind="a"),
        part("d1", 2.0, defective=True, kind="a"),
    ]

    good, defects, _ = gallery.choose(judged)

    assert (good.name, keys(good)) == ("good", ["g1", "g0"])
    assert "No good part was rejected" in good.text
    assert (defects.name, keys(defects)) == ("defect", ["d1", "d0"])
    assert "No defect was missed" in defects.text


def test_invalid_parts_are_in_no_gallery_and_one_class_alone_is_fine() -> None:
    assert [keys(some) for some in gallery.choose([part("g", 0.2), part("x", float("nan"))])] == [["g"]]
    assert [some.name for some in gallery.choose([part("d", 0.2, defective=True, kind="a")])] == ["miss", "type"]
    assert gallery.choose([]) == []


def test_the_first_of_each_type_is_chosen_by_name_alone() -> None:
    judged = [
        part(f"{kind}/{n}", score, defective=True, kind=kind) for kind in "ba" for n, score in ((1, 9.0), (0, 0.1))
    ]

    types = gallery.choose(judged)[-1]

    assert keys(types) == ["a/0", "b/0"]


def test_however_many_parts_there_were_only_those_shown_are_read_again() -> None:
    frames: dict[str, Frame | None] = {f"{n:04}": frame(level=128) for n in range(6)}
    collection = Counting(frames)
    judged = [part(f"{n:04}", n / 1e5, defective=n % 2 == 1, kind="a" if n % 2 else "good") for n in range(100_000)]
    wanted = [one for some in gallery.choose(judged, each=3) for one in some.parts]
    assert len(wanted) <= 3 * 3

    detector = Detector.from_bytes(model_bytes(FRAME, threshold=0.25))
    shown = gallery.look_at(detector, collection, Truth(defective={}, kind={}), judged[:6])

    assert collection.asked == list(frames)
    assert all(max(one.frame.shape[:2]) <= gallery.SIDES[0] for one in shown.values())


@pytest.fixture
def stained(tmp_path: Path) -> tuple[Parts, Truth, list[JudgedPart]]:
    pixels = frame(1)
    pixels[8:28, 12:40] = 250
    mask = np.zeros((32, 48), np.uint8)
    mask[8:28, 12:40] = 255
    assert cv2.imwrite(str(tmp_path / "mask.png"), mask)
    truth = Truth(
        defective={"good": False, "stain": True}, kind={"stain": "oil"}, masks={"stain": tmp_path / "mask.png"}
    )
    judged = [part("good", 0.01), part("stain", 0.6, defective=True, kind="oil", threshold=0.25)]
    return Parts({"good": frame(0), "stain": pixels}), truth, judged


def exhibits(detector: Detector, stained: tuple[Parts, Truth, list[JudgedPart]], **bounds: int) -> dict[str, Exhibit]:
    collection, truth, judged = stained
    chosen = gallery.choose(judged)
    shown = gallery.look_at(detector, collection, truth, [one for some in chosen for one in some.parts])
    made = gallery.exhibits(chosen, shown, limit=0.25, crop=WHOLE, **bounds)
    return {some.name: one for some, several in zip(chosen, made, strict=True) for one in several}


def pixels_of(exhibit: Exhibit, view: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    data = next(picture.png for picture in exhibit.pictures if picture.name.endswith(f"-{view}.png"))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[:, :, ::-1], np.uint8)


def test_a_part_is_shown_with_its_defect_outlined_and_its_heat_map(
    stained: tuple[Parts, Truth, list[JudgedPart]],
) -> None:
    made = exhibits(Detector.from_bytes(model_bytes(FRAME, threshold=0.25)), stained)["defect"]

    assert [picture.name for picture in made.pictures] == [
        f"defect-01-{view}.png" for view in ("input", "map", "overlay")
    ]
    assert (made.status, made.tone, made.key) == ("REJECT", "bad", "stain")  # the colour is the verdict's
    assert {("truth", "oil"), ("outcome", "found")} <= set(made.facts)
    times = pixels_of(made, "input").shape[0] // 32
    assert times > 1  # small frames are enlarged by whole pixels
    inside = pixels_of(made, "input")[12 * times : 24 * times, 16 * times : 36 * times]
    assert (inside == 250).all()  # the outline is around the defect
    border = pixels_of(made, "input")[:, 26 * times]
    assert (border == 0).all(axis=1).any()
    assert (border == 255).all(axis=1).any()


def test_the_heat_map_has_the_one_colour_scale(stained: tuple[Parts, Truth, list[JudgedPart]]) -> None:
    made = exhibits(Detector.from_bytes(model_bytes(FRAME, threshold=0.25)), stained)

    hottest = colours(np.array([[9.0]], np.float32), 0.25)[0, 0]
    coolest = colours(np.array([[0.01]], np.float32), 0.25)[0, 0]
    hot = pixels_of(made["defect"], "map")
    assert (hot[hot.shape[0] // 2, hot.shape[1] // 2] == hottest).all()
    assert (np.abs(pixels_of(made["good"], "map").astype(int) - coolest) <= 12).all()


def test_a_reconstruction_is_shown_where_the_file_gives_one(stained: tuple[Parts, Truth, list[JudgedPart]]) -> None:
    made = exhibits(Rebuilding.from_bytes(model_bytes(FRAME, threshold=0.25)), stained)["defect"]

    assert (pixels_of(made, "rebuilt") == 200).all()
    assert pixels_of(made, "rebuilt").shape == pixels_of(made, "input").shape


def test_what_the_network_did_not_see_stays_grey() -> None:
    inner = np.zeros((8, 8, 3), np.uint8)

    placed = gallery._placed(inner, (40, 60), (0.5, 0.0, 1.0, 1.0))

    assert (placed[:, :30] == 128).all()
    assert (placed[:, 30:] == 0).all()


def test_pictures_shrink_until_all_of_them_fit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 400, 3), dtype=np.uint8)
    judged = [part(f"{n}", 0.1) for n in range(4)]
    chosen = gallery.choose(judged)
    shown = {
        one.ref.key: gallery.PartViews(part=one, level=0.1, threshold=1.0, frame=gallery._shrunk(noise, 320))
        for one in judged
    }

    large = gallery.exhibits(chosen, shown, limit=1.0, crop=WHOLE)
    small = gallery.exhibits(chosen, shown, limit=1.0, crop=WHOLE, max_bytes=500_000)

    assert pixels_of(large[0][0], "input").shape == (320, 256, 3)
    assert sum(len(picture.png) for one in small[0] for picture in one.pictures) <= 500_000
    assert max(pixels_of(small[0][0], "input").shape) in gallery.SIDES[1:]


def test_a_part_that_cannot_be_read_again_is_named_without_a_picture() -> None:
    judged = [part("torn", 0.1)]
    chosen = gallery.choose(judged)
    detector = Detector.from_bytes(model_bytes(FRAME, threshold=0.25))

    shown = gallery.look_at(detector, Parts({"torn": None}), Truth(defective={}, kind={}), judged)
    (made,) = gallery.exhibits(chosen, shown, limit=1.0, crop=WHOLE)[0]

    assert made.pictures == ()
    assert ("picture", "could not be read again") in made.facts


def test_a_part_that_has_another_size_by_now_is_left_out_like_one_that_cannot_be_read() -> None:
    detector = Detector.from_bytes(model_bytes(FRAME, threshold=0.25))
    resized = np.full((8, 8, 3), 128, np.uint8)
    some = [part("resized", 2.0), part("same", 1.5)]

    shown = gallery.look_at(detector, Parts({"resized": resized, "same": frame(0)}), Truth(defective={}, kind={}), some)

    assert list(shown) == ["same"]


@pytest.mark.parametrize(("crop", "column"), [(WHOLE, 1_000), ((0.5, 0.0, 1.0, 1.0), 1_500)])
def test_of_a_large_frame_the_hottest_place_is_shown_at_full_size(
    crop: tuple[float, float, float, float], column: int
) -> None:
    spec = msgspec.structs.replace(FRAME, frame_size=(800, 2_000), crop=crop)
    pixels = frame(1, size=(800, 2_000))
    heat = np.zeros((8, 8), np.float32)
    heat[4, 4] = 9.0
    pixels[445:455, column + 60 : column + 65] = 0  # within the hot cell, too small to be visible at 320 px

    class Pointing(Detector):
        def __call__(self, item: Frame) -> Verdict:
            return msgspec.structs.replace(super().__call__(item), evidence={"anomaly_map": heat})

    detector = Pointing.from_bytes(model_bytes(spec, threshold=0.25))
    judged = [part("wide", 0.1)]
    shown = gallery.look_at(detector, Parts({"wide": pixels}), Truth(defective={}, kind={}), judged)
    (made,) = gallery.exhibits(gallery.choose(judged), shown, limit=1.0, crop=crop)[0]

    assert pixels_of(made, "input").shape == (128, 320, 3)
    assert pixels_of(made, "close").shape == (gallery.CLOSE, gallery.CLOSE, 3)
    assert (pixels_of(made, "close") == 0).all(axis=2).sum() == 10 * 5


@pytest.mark.parametrize(
    ("status", "defective", "words", "colour"),
    [
        (Status.REJECT, True, "found", "bad"),
        (Status.REJECT, False, "false reject", "bad"),
        (Status.OK, True, "missed", "good"),
        (Status.OK, False, "passed", "good"),
        (Status.REVIEW, False, "passed", "plain"),
        (Status.INVALID, True, "not judged", "plain"),
    ],
)
def test_the_badge_has_the_colour_of_the_verdict_and_words_say_whether_it_was_right(
    status: Status, defective: bool, words: str, colour: str
) -> None:
    part = JudgedPart(ref=Ref(key="a"), score=0.5, status=status, defective=defective, kind="oil")

    assert (gallery.outcome(part), status_tone(status)) == (words, colour)
