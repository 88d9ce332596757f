"""The scene check in a file: features of the whole frame, and INVALID for frames that are wrong as a whole."""

import logging
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.export.test_tiled_graph import Edges as OnlyMaps
from tests.export.toys import WINDOWS, Edges, Squares

from andon.calibration.calibrate import calibrate
from andon.calibration.request import CalibrationRequest
from andon.calibration.scene import KINDS, NO_LIMIT, fit_scene
from andon.calibration.scoring import score
from andon.export.export import export
from andon.export.graph import Pipeline
from andon.export.scene import CELLS, SceneFeatures
from andon.runtime import ConfigError, Detector, Reason, Status
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.mask_pixels import pack
from andon.runtime.model_file.format import parse, read
from andon.runtime.schema import RAW_SCORE, SCENE_FEATURES, FrameSpec, ScoreRule, Tiles
from andon.sources.collection import FoundFrames

SPEC = FrameSpec(channels=3, size=(32, 48))
RULE = ScoreRule(map="edges", pool="top", share=0.02, smooth=1.0)


class Discs:
    """Frames with a bright disc in the upper left, on a dark ground, as a fixed camera sees parts. `light` scales all levels."""

    def __init__(self, count: int, *, light: float = 1.0, first: int = 0, size: tuple[int, int] = (60, 80)) -> None:
        self.found = FoundFrames(channels=3, frame_size=size, largest=size)
        self.refs = [Ref(key=f"{first + number:04}.png") for number in range(count)]
        self._size, self._light = size, light

    def read(self, ref: Ref) -> Item | Lost:
        generator = np.random.default_rng(int(ref.key[:4]))
        down, across = np.mgrid[: self._size[0], : self._size[1]]
        middle = generator.normal([20, 26], 1.0)
        disc = np.hypot(down - middle[0], across - middle[1]) < 15
        levels = (40 + 120 * disc)[:, :, np.newaxis] + generator.normal(0, 4, (*self._size, 3))
        return Item(ref, np.clip(self._light * levels, 0, 255).astype(np.uint8))

    def frame(self, place: int) -> NDArray[np.uint8]:
        item = self.read(self.refs[place])
        assert isinstance(item, Item)
        return np.asarray(item.data, np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "discs.onnx"
    request = CalibrationRequest(date="2026-01-02")
    export(
        Pipeline(Edges(), SPEC, RULE, scene=True), Discs(70), path, request=request, scene_parts=Discs(60, first=500)
    )
    return path


LARGE = (220, 300)
MARKED = np.zeros(LARGE, np.bool_)
MARKED[150:] = True


@pytest.mark.parametrize(
    "spec",
    [
        msgspec.structs.replace(SPEC, ignore=pack(MARKED)),
        msgspec.structs.replace(SPEC, frame_size=LARGE, tiles=Tiles(rows=4, columns=5, overlap=16, chunk=5)),
        msgspec.structs.replace(
            SPEC, ignore=pack(MARKED), frame_size=LARGE, tiles=Tiles(rows=4, columns=5, overlap=16, chunk=5)
        ),
    ],
    ids=["mask", "tiles", "mask and tiles"],
)
def test_large_frames_with_a_mask_or_tiles_get_a_scene_check(spec: FrameSpec, tmp_path: Path) -> None:
    # wrong frames are made from reduced large frames, and masks and tiles belong to one frame size
    parts = Discs(70, size=LARGE)
    request = CalibrationRequest(date="2026-01-02")
    exported = export(
        Pipeline(OnlyMaps(), spec, RULE, scene=True),
        parts,
        tmp_path / "large.onnx",
        request=request,
        scene_parts=Discs(60, first=500, size=LARGE),
    )

    detector = Detector.load(exported.path)
    assert detector(parts.frame(0)).status == Status.OK
    assert detector(Discs(1, light=0.3, size=LARGE).frame(0)).reason == Reason.OTHER_SCENE


def test_the_first_features_are_light_contrast_and_sharpness_in_logarithms() -> None:
    frame = torch.full((1, 3, 32, 32), 0.5)
    frame[..., ::2] = 0.25

    features = SceneFeatures(mean=0.0, scale=200.0)(frame, None)[0].tolist()

    assert features[:3] == pytest.approx([np.log(75 + 4), np.log(25 + 1), np.log(50 + 0.3)], rel=1e-5)
    assert len(features) == 3 + CELLS**2 - 1


def test_a_mirrored_frame_has_the_opposite_odd_coefficients() -> None:
    frame = torch.rand((1, 1, 24, 40), generator=torch.Generator().manual_seed(0))
    features = SceneFeatures(mean=0.0, scale=255.0)

    upright, mirrored = (features(one, None)[0, 3:] for one in (frame, frame.flip(2)))

    signs = torch.tensor([(-1.0) ** (number // CELLS) for number in range(1, CELLS**2)])
    assert torch.allclose(mirrored, signs * upright, atol=1e-4)


def test_deep_planes_add_their_means_and_three_coefficients_each() -> None:
    deep = torch.ones((2, 5, 7, 9)) * torch.arange(5.0)[None, :, None, None]

    features = SceneFeatures(mean=0.0, scale=255.0)(torch.rand(2, 3, 32, 32), deep)

    assert features.shape == (2, 3 + 63 + 4 * 5)
    assert torch.allclose(features[:, 66:71], torch.arange(5.0).expand(2, 5), atol=1e-5)
    assert torch.allclose(features[:, 71:], torch.zeros(2, 15), atol=1e-5)


def test_frames_that_are_wrong_as_a_whole_are_invalid(file: Path) -> None:
    detector = Detector.load(file)
    good = Discs(5, first=900).frame(0)
    generator = np.random.default_rng(0)
    wrong = {
        "dark": (good * 0.15).astype(np.uint8),
        "black, a little light from one side": (np.linspace(0, 20, 80)[:, np.newaxis] * np.ones((60, 1, 3))).astype(
            np.uint8
        ),
        "no part": np.clip(np.linspace(30, 50, 80)[:, np.newaxis] + generator.normal(0, 4, good.shape), 0, 255).astype(
            np.uint8
        ),
        "upside down": np.ascontiguousarray(good[::-1]),
    }

    verdicts = {name: detector(frame) for name, frame in wrong.items()}

    assert {name: verdict.reason for name, verdict in verdicts.items()} == dict.fromkeys(wrong, Reason.OTHER_SCENE)
    assert all(verdict.status is Status.INVALID and np.isnan(verdict.score) for verdict in verdicts.values())


def test_new_good_frames_are_judged_as_without_the_check(file: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.onnx"
    export(Pipeline(Edges(), SPEC, RULE), Discs(70), plain, request=CalibrationRequest(date="2026-01-02"))
    checked, unchecked = Detector.load(file), Detector.load(plain)
    parts = Discs(40, first=2000)

    for place in range(40):
        frame = parts.frame(place)
        assert checked(frame).score == pytest.approx(unchecked(frame).score, rel=1e-6)
        assert checked(frame).status == unchecked(frame).status


def test_a_frame_without_contrast_keeps_its_own_reason(file: Path) -> None:
    assert Detector.load(file)(np.zeros((60, 80, 3), np.uint8)).reason is Reason.NO_CONTRAST


def test_the_card_says_what_is_recognised_and_from_how_many_parts(file: Path) -> None:
    spec = read(file).card.input
    assert isinstance(spec, FrameSpec)
    check = spec.scene

    assert check is not None
    assert (check.n, check.active, check.kinds) == (60, True, KINDS)
    assert {"lamp too dark", "black", "no part", "upside down"} <= set(check.recognised)
    assert check.quantile == pytest.approx(60 / 61)


def test_the_features_and_the_raw_score_are_not_evidence(file: Path) -> None:
    detector = Detector.load(file)

    verdict = detector(Discs(1).frame(0))

    assert {RAW_SCORE, SCENE_FEATURES} <= set(detector.card.outputs)
    assert not {RAW_SCORE, SCENE_FEATURES} & set(verdict.evidence)
    assert detector.measure([Discs(1).frame(0)], RAW_SCORE)[0] == pytest.approx(verdict.score)


def test_the_golden_sample_is_verified_although_it_is_not_a_good_part(file: Path) -> None:
    detector = Detector.load(file)
    golden = detector.model.golden
    assert golden is not None

    assert Detector.load(file, frame_size="any")(golden.input.array()).reason is Reason.OTHER_SCENE
    detector.verify()


def test_under_a_new_lamp_the_check_is_fitted_again_before_the_threshold(file: Path) -> None:
    old = read(file)
    darker = Discs(60, light=0.6, first=3000)
    judged = score(old.data, darker)
    assert (judged.reason == Reason.OTHER_SCENE).all()

    fitted = fit_scene(old.data, Discs(60, light=0.6, first=4000))
    new = parse(calibrate(fitted, score(fitted, darker), CalibrationRequest(date="2026-03-04", forced=True)))

    assert new.graph_sha256 == old.graph_sha256
    again = score(new.data, Discs(30, light=0.6, first=5000))
    assert again.valid.all()
    assert score(new.data, Discs(10, light=0.15, first=6000)).reason.tolist() == [Reason.OTHER_SCENE] * 10


def test_a_fit_changes_neither_threshold_nor_graph(file: Path) -> None:
    old = read(file)

    new = parse(fit_scene(old.data, Discs(40, first=7000)))

    assert (new.threshold, new.log, new.graph_sha256) == (old.threshold, old.log, old.graph_sha256)
    assert new.digest != old.digest


def test_too_few_parts_leave_the_check_without_effect_and_say_so(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = parse(fit_scene(read(file).data, Discs(5)))

    spec = model.card.input
    assert isinstance(spec, FrameSpec)
    assert spec.scene is not None
    assert (spec.scene.active, spec.scene.recognised) == (False, ())
    assert "at least 8 good parts, got 5" in caplog.text
    assert np.finfo(np.float32).max == NO_LIMIT


def test_a_file_without_the_check_cannot_be_fitted(tmp_path: Path) -> None:
    path = tmp_path / "plain.onnx"
    export(Pipeline(Edges(), SPEC, RULE), Discs(70), path, request=CalibrationRequest(date="2026-01-02"))

    with pytest.raises(ConfigError, match="with a scene check, got one without it"):
        fit_scene(read(path).data, Discs(40))


def test_windows_have_no_scene_check() -> None:
    with pytest.raises(ConfigError, match="expected frames, got windows"):
        Pipeline(Squares(), WINDOWS, ScoreRule(map="error"), scene=True)


@pytest.mark.parametrize("scene", [True, False])
def test_parts_for_the_check_are_given_if_and_only_if_there_is_one(scene: bool, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="scene_parts: expected good parts if and only if"):
        export(
            Pipeline(Edges(), SPEC, RULE, scene=scene),
            Discs(70),
            tmp_path / "x.onnx",
            request=CalibrationRequest(date="2026-01-02"),
            scene_parts=None if scene else Discs(60),
        )


def test_the_metadata_stay_canonical_json(file: Path) -> None:
    assert msgspec.to_builtins(read(file).card)["input"]["scene"]["limits"] == len(KINDS)
