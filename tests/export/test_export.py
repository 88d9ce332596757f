"""Export of a scorer as a calibrated file, end to end."""

import logging
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from tests.export.toys import FRAMES, WINDOWS, Edges, Frames, Squares, WindowRuns
from torch import Tensor, nn

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.export.evidence import Evidence
from andon.export.export import Exported, export
from andon.export.graph import Pipeline, trace
from andon.export.provenance import Provenance
from andon.foundation.errors import DataError
from andon.runtime import CalibrationError, Detector, NotEnoughParts, ParityError, Reason, Status
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.model_file.format import read
from andon.runtime.schema import ScoreRule, Weights

EDGES = ScoreRule(map="edges", pool="top", share=0.02, smooth=1.0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("export") / "edges.onnx"
    return export(Pipeline(Edges(), FRAMES, EDGES), Frames(70), path, request=CalibrationRequest(date="2026-01-02"))


def test_a_scorer_that_andon_did_not_train_becomes_a_file_that_judges(exported: Exported) -> None:
    detector = Detector.load(exported.path)
    frames = Frames(70)

    verdicts = [detector(frames.read(ref).data) for ref in frames.refs]  # type: ignore[union-attr]

    assert all(verdict.status is Status.OK for verdict in verdicts)
    assert verdicts[0].evidence["anomaly_map"].shape == (32, 48)
    assert "score_brightness" in verdicts[0].evidence


def test_the_file_scores_as_the_module_does(exported: Exported) -> None:
    detector, frames = Detector.load(exported.path), Frames(3)
    pipeline = Pipeline(Edges(), FRAMES, EDGES).eval()

    for ref in frames.refs:
        data = frames.read(ref).data  # type: ignore[union-attr]
        with torch.no_grad():
            expected = pipeline(torch.from_numpy(data[None]))[0].item()
        assert detector(data).score == pytest.approx(expected, rel=1e-5)


def test_seventy_parts_promise_five_percent_and_say_what_they_took_for_granted(exported: Exported) -> None:
    calibration = read(exported.path).card.calibration

    assert calibration is not None
    assert calibration.sentence == (
        "with 95 % confidence at most 5 % of good parts are rejected or INVALID by their content; from 70 parts"
    )
    assert calibration.drawn == "each file was taken as an independent part"


def test_a_black_frame_is_invalid_with_its_reason_and_no_score(exported: Exported) -> None:
    verdict = Detector.load(exported.path)(np.zeros((60, 80, 3), np.uint8))

    assert verdict.status is Status.INVALID
    assert verdict.reason is Reason.NO_CONTRAST
    assert np.isnan(verdict.score)


def test_nothing_of_this_machine_stays_in_the_file(exported: Exported) -> None:
    data = exported.path.read_bytes()

    for trace_of_us in (str(Path.cwd()).encode(), str(Path.home()).encode() + b"/", b'File "', b"site-packages"):
        assert trace_of_us not in data


def test_two_traces_of_one_scorer_are_the_same_bytes() -> None:
    first, second = (trace(Pipeline(Edges(), FRAMES, EDGES)).SerializeToString(deterministic=True) for _ in range(2))

    assert first == second


def test_the_log_of_the_exporter_is_as_loud_afterwards_as_before() -> None:
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        trace(Pipeline(Edges(), FRAMES, EDGES))
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(before)


class Counting(Edges):
    """A scorer that gives a table and a map."""

    def forward(self, prepared: Tensor) -> Evidence:
        return super().forward(prepared)._replace(tables={"shares": prepared.mean(dim=(2, 3)).softmax(dim=1)})


def test_warnings_about_the_internals_of_the_exporter_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[torch.Size] = []

    class Talking(Edges):
        def forward(self, prepared: Tensor) -> Evidence:
            if torch.compiler.is_exporting():
                heard.append(prepared.shape)
                for name in ("torch.onnx", "onnxscript"):
                    logging.getLogger(name).warning("skipping constant folding")
            return super().forward(prepared)

    with caplog.at_level(logging.WARNING):
        trace(Pipeline(Talking(), FRAMES, ScoreRule(map="edges")))

    assert heard
    assert "skipping constant folding" not in caplog.text


def test_tables_for_people_leave_the_file_after_all_that_is_scored() -> None:
    pipeline = Pipeline(Counting(), FRAMES, ScoreRule(map="edges")).eval()

    assert pipeline.evidence_names() == ["anomaly_map", "score_brightness", "shares"]


_WRITTEN = {
    "FrameSpec": {"channels", "size", "frame_size"},
    "Calibration": {
        "kind", "alpha", "confidence", "n", "n_eff", "above", "sampling", "part_keys_sha256", "good_median", "good_scale",
        "map_scale", "date", "precision", "provider", "health",
    },
    "Sampling": {"method", "units"},
    "Card": {"name", "detector", "input", "reading", "outputs", "calibration", "versions"},
}  # fmt: skip


def test_nothing_reserved_is_written_yet(exported: Exported) -> None:
    card = read(exported.path).card
    assert card.calibration is not None

    for struct in (card, card.input, card.calibration, card.calibration.sampling):
        assert struct is not None
        defaults = {field.name: field.default for field in msgspec.structs.fields(struct)}
        # an empty default from a default factory does not count
        written = {name for name, default in defaults.items() if getattr(struct, name) not in (default, (), {})}
        assert written <= _WRITTEN[type(struct).__name__]
    assert card.schema == (1, 1)


def test_a_scorer_from_elsewhere_is_a_custom_one_named_after_its_file(exported: Exported) -> None:
    card = read(exported.path).card

    assert (card.name, card.detector, card.detector_version, card.settings) == ("edges", "custom", 1, {})
    assert set(card.versions) == {"andon", "numpy", "onnx", "onnxruntime", "onnxscript", "torch"}


def test_where_a_scorer_comes_from_is_written_into_the_card(tmp_path: Path) -> None:
    origin = Provenance(
        name="bottles",
        detector="edges",
        version=3,
        settings={"filters": 4},
        checkpoint_epoch=7,
        notes=["a note"],
        weights=[Weights(name="made-up", licence="MIT", sha256="a" * 64)],
        data_fingerprint="f" * 64,
        versions={"andon": "0.0.1"},
    )
    request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date="")

    card = export(
        Pipeline(Edges(), FRAMES, EDGES), Frames(5), tmp_path / "e.onnx", request=request, provenance=origin
    ).model.card

    assert (card.name, card.detector, card.detector_version, card.settings) == ("bottles", "edges", 3, {"filters": 4})
    assert (card.checkpoint_epoch, card.notes, card.data_fingerprint) == (7, ("a note",), "f" * 64)
    assert [weights.name for weights in card.weights] == ["made-up"]
    assert card.tolerance == 1e-4


def test_the_golden_sample_is_synthetic_unless_asked_for(exported: Exported) -> None:
    golden = read(exported.path).golden

    assert golden is not None
    assert golden.origin == "synthetic"
    Detector.load(exported.path).verify()


def test_windows_of_independent_runs_carry_a_plain_promise(tmp_path: Path) -> None:
    made = export(
        Pipeline(Squares(), WINDOWS, ScoreRule(map="error")),
        WindowRuns(300, 1),
        tmp_path / "w.onnx",
        request=CalibrationRequest(date=""),
    )

    calibration = made.model.card.calibration
    assert calibration is not None
    assert (calibration.kind, calibration.alpha, calibration.n) == ("promise", 0.01, 300)


def test_dependent_windows_of_one_log_carry_less_than_their_number(tmp_path: Path) -> None:
    made = export(
        Pipeline(Squares(), WINDOWS, ScoreRule(map="error")),
        WindowRuns(1, 900, phi=0.8),
        tmp_path / "w.onnx",
        request=CalibrationRequest(date=""),
    )

    calibration = made.model.card.calibration
    assert calibration is not None
    assert calibration.kind == "promise(n_eff)"
    assert calibration.n_eff < calibration.n / 2


def test_a_promise_that_the_parts_cannot_carry_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughParts, match="299"):
        export(
            Pipeline(Edges(), FRAMES, EDGES),
            Frames(60),
            tmp_path / "e.onnx",
            request=CalibrationRequest(promise=PromiseRequest(false_reject=0.01), date=""),
        )

    assert list(tmp_path.iterdir()) == []


def test_a_promise_that_no_scores_could_carry_is_refused_before_any_part_is_read(tmp_path: Path) -> None:
    class Untouched(Frames):
        def read(self, ref: Ref) -> Item | Lost:
            pytest.fail(f"{ref.key} was read")

    with pytest.raises(NotEnoughParts, match="needs 299 good calibration parts, got 298"):
        export(
            Pipeline(Edges(), FRAMES, EDGES),
            Untouched(298),
            tmp_path / "e",
            request=CalibrationRequest(promise=PromiseRequest(false_reject=0.01), date=""),
        )


def test_a_failed_export_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "e.onnx"
    target.write_bytes(b"the old file")

    with pytest.raises(NotEnoughParts):
        export(Pipeline(Edges(), FRAMES, EDGES), Frames(5), target, request=CalibrationRequest(date=""))

    assert target.read_bytes() == b"the old file"


def test_too_few_parts_write_an_estimate_only_when_told_to(tmp_path: Path) -> None:
    made = export(
        Pipeline(Edges(), FRAMES, EDGES),
        Frames(5),
        tmp_path / "e.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date=""),
    )

    calibration = made.model.card.calibration
    assert calibration is not None
    assert calibration.kind == "estimate"
    assert calibration.sentence.startswith("no promise, an estimate")


def test_a_few_lost_parts_are_dropped_and_counted_and_one_invalid_by_its_content_counts_as_rejected(
    tmp_path: Path,
) -> None:
    made = export(
        Pipeline(Edges(), FRAMES, EDGES),
        Frames(100, dark=[3], lost=[40, 41]),
        tmp_path / "e.onnx",
        request=CalibrationRequest(date=""),
    )

    calibration = made.model.card.calibration
    assert calibration is not None
    assert (calibration.n, calibration.invalid) == (98, 2)
    assert calibration.above >= 1  # the part without contrast is above all thresholds


def test_many_invalid_parts_are_refused_with_the_first_of_them(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"6 of 100 .* INVALID .*0010\.png"):
        export(
            Pipeline(Edges(), FRAMES, EDGES),
            Frames(100, dark=range(10, 16)),
            tmp_path / "e.onnx",
            request=CalibrationRequest(date=""),
        )


def test_parts_of_which_none_can_be_read_are_refused_with_the_first_of_them(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"none of the 70 calibration parts can be read\. The first is 0000\.png: .+\. Restore"
    ):
        export(
            Pipeline(Edges(), FRAMES, EDGES),
            Frames(70, lost=range(70)),
            tmp_path / "e.onnx",
            request=CalibrationRequest(date=""),
        )


class _DependsOnBatch(nn.Module):
    def forward(self, prepared: Tensor) -> Evidence:
        return Evidence({"edges": (prepared - prepared.mean(dim=0, keepdim=True)).abs().mean(1) + prepared.mean(1)}, {})


class _DrawsLots(nn.Module):
    def forward(self, prepared: Tensor) -> Evidence:
        return Evidence({"edges": (prepared + torch.randn_like(prepared)).abs().mean(1)}, {})


def test_a_scorer_that_draws_lots_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="expected deterministic operators"):
        export(
            Pipeline(_DrawsLots(), FRAMES, EDGES), Frames(60), tmp_path / "e.onnx", request=CalibrationRequest(date="")
        )


def test_a_scorer_that_mixes_the_rows_of_a_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="as for the part alone"):
        export(
            Pipeline(_DependsOnBatch(), FRAMES, EDGES),
            Frames(60),
            tmp_path / "e.onnx",
            request=CalibrationRequest(date=""),
        )


class Ceiling(nn.Module):
    """A scorer for windows whose score depends only on how near each value is to the clip."""

    def forward(self, prepared: Tensor) -> Evidence:
        return Evidence({}, {"ceiling": prepared.abs().amax(dim=(1, 2))})


class OneFarOut(WindowRuns):
    """Windows of which the first is at 12 standard deviations, beyond the clip of 10."""

    def read(self, ref: Ref) -> Item | Lost:
        return Item(ref, shifted(12.0)) if ref == self.refs[0] else super().read(ref)


def shifted(deviations: float) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Return a window whose values are all this number of standard deviations from the centre."""
    rows = np.array([[channel.center + deviations * channel.scale for channel in WINDOWS.channels]], np.float32)
    return np.repeat(rows, WINDOWS.steps, axis=0)


@pytest.mark.parametrize(
    ("scorer", "reading"),
    [
        (Squares(), ScoreRule(map="error")),
        (Squares(), ScoreRule(map="error", pool="max")),
        (Ceiling(), ScoreRule(score="ceiling")),
    ],
    ids=["a map decides", "its maximum decides", "a score decides"],
)
def test_a_window_scores_higher_the_farther_outside_the_trained_range_it_lies(
    scorer: nn.Module, reading: ScoreRule
) -> None:
    pipeline = Pipeline(scorer, WINDOWS, reading).eval()
    windows = [shifted(deviations) for deviations in (9.0, 12.0, 50.0, 500.0, -5000.0)]

    with torch.no_grad():
        scores = pipeline(torch.from_numpy(np.stack([*windows, np.full_like(windows[0], 3e38)])))[0].tolist()

    assert scores == sorted(set(scores))
    assert np.isfinite(scores).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scorer", "reading"),
    [(Squares(), ScoreRule(map="error")), (Ceiling(), ScoreRule(score="ceiling"))],
    ids=["a map decides", "a score decides"],
)
def test_a_window_far_outside_is_rejected_even_where_one_calibration_window_was_clipped(
    scorer: nn.Module, reading: ScoreRule, tmp_path: Path
) -> None:
    made = export(
        Pipeline(scorer, WINDOWS, reading), OneFarOut(20, 1), tmp_path / "w.onnx", request=CalibrationRequest(date="")
    )
    detector = Detector.load(made.path)

    for deviations in (50.0, 500.0, 5000.0, -5000.0):
        assert detector(shifted(deviations)).status is Status.REJECT, f"{deviations:g} standard deviations"
    one_channel = shifted(0.0)
    one_channel[:, 1] = shifted(500.0)[:, 1]
    explained = detector(one_channel).evidence.get("channel_scores")
    assert explained is None or (explained[0] == 0.0 and explained[1] > 1000.0)
