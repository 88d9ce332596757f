"""`andon audit`: one sentence and an exit code about a count of good parts."""

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from tests.calibration.scores import scores_of
from tests.cli.running import andon
from tests.runtime.hand_made import FRAME, blank_bytes, graph

from andon.calibration.audit import audit_file, with_audit
from andon.calibration.calibrate import calibrate
from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.cli import main
from andon.foundation.errors import ConfigError
from andon.runtime.calibration_facts import MOST_AUDITS, Calibration
from andon.runtime.model_file.format import Tail, parse, seal


@pytest.fixture
def promised(tmp_path: Path) -> Path:
    """Return a file that promises at most 1 % of good parts, with 95 % confidence."""
    return _file(tmp_path / "promised.onnx", parts=300, tau=1.0)


def _file(path: Path, *, parts: int, tau: float) -> Path:
    scores = scores_of(np.random.default_rng(0).gamma(4.0, 0.05, parts))
    request = CalibrationRequest(promise=PromiseRequest(false_reject=0.01, no_promise=True), date="2026-11-30")
    model = parse(calibrate(blank_bytes(graph(FRAME), FRAME), scores, request))
    assert model.card.calibration is not None
    card = replace(model.card, calibration=replace(model.card.calibration, tau=tau))
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)
    path.write_bytes(seal(model.data, card=card, golden=model.golden, log=model.log, tail=tail))
    return path


CONFIRMED = (
    "confirmed: with 95 % confidence at most 1 % of good parts are rejected (0 of 299 were rejected: at most 0.997 %)."
)
VIOLATED = "violated: with 95 % confidence more than 1 % of good parts are rejected (25 of 1000 were rejected: at least 1.1 %)."
UNDECIDED = (
    "not decided: 0 of 299 were rejected, which allows a share from 0 % to 1.26 % (95 % confidence for each bound). "
    "The limit is 1 %. About 78 more good parts would decide it at this rate."
)
ONE_LOOK = (
    "not decided: 0 of 200 were rejected, which allows a share from 0 % to 1.49 % (95 % confidence for each bound). "
    "The limit is 1 %. At this rate a new count of about 299 good parts would decide it. To continue this count, use --any-time."
)


@pytest.mark.parametrize(
    ("counts", "code", "sentence"),
    [
        (["--good", "299", "--rejected", "0"], 0, CONFIRMED),
        (["--good", "1000", "--rejected", "25", "--any-time"], 1, VIOLATED),
        (["--good", "299", "--rejected", "0", "--any-time"], 3, UNDECIDED),
        (["--good", "200", "--rejected", "0"], 3, ONE_LOOK),
    ],
    ids=["confirmed", "violated", "undecided", "one look"],
)
def test_the_finding_is_one_sentence_and_the_exit_code(
    promised: Path, counts: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(promised), *counts]) == code

    assert capsys.readouterr().out == sentence + "\n"


def test_programs_read_the_record_and_the_parts_that_would_decide_it(
    promised: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(promised), "--good", "200", "--rejected", "0", "--json"]) == 3

    printed = json.loads(capsys.readouterr().out)
    assert {key: printed[key] for key in ("finding", "looks", "alpha", "parts", "rejects", "parts_in_total")} == {
        "finding": "undecided", "looks": "once", "alpha": 0.01, "parts": 200, "rejects": 0, "parts_in_total": 299,
    }  # fmt: skip
    assert printed["digest"] == parse(promised.read_bytes()).digest


def test_another_share_and_confidence_can_be_checked(promised: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--good", "90", "--rejected", "0", "--false-reject", "0.05", "--confidence", "0.99"]

    assert main(["audit", str(promised), *flags]) == 0

    assert capsys.readouterr().out.startswith("confirmed: with 99 % confidence at most 5 % of good parts")


def test_a_file_without_a_promise_asks_for_the_share_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate = str(_file(tmp_path / "estimate.onnx", parts=20, tau=1.0))

    assert main(["audit", estimate, "--good", "300", "--rejected", "0"]) == 2
    assert "expected --false-reject with the share to check" in capsys.readouterr().err
    assert main(["audit", estimate, "--good", "300", "--rejected", "0", "--false-reject", "0.01"]) == 0


def test_dependent_windows_count_as_fewer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dependent = str(_file(tmp_path / "windows.onnx", parts=300, tau=10.0))

    assert main(["audit", dependent, "--good", "2000", "--rejected", "0"]) == 3

    out = capsys.readouterr().out
    assert "0 of 2000 were rejected, counted as 200 independent ones," in out
    assert "a new count of about 2990 good parts" in out


def test_more_rejected_than_good_parts_is_a_mistake(promised: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(promised), "--good", "10", "--rejected", "11"]) == 2

    assert "rejected parts: expected an integer from 0 to 10" in capsys.readouterr().err


def test_a_blank_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "blank.onnx"
    path.write_bytes(blank_bytes(graph(FRAME), FRAME))

    assert main(["audit", str(path), "--good", "10", "--rejected", "0"]) == 2

    assert "calibrat" in capsys.readouterr().err


def test_the_file_keeps_the_finding_and_shows_it(
    promised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, new = parse(promised.read_bytes()), tmp_path / "audited.onnx"

    assert main(["audit", str(promised), "--good", "299", "--rejected", "0", "-o", str(new)]) == 0
    assert main(["audit", str(new), "--good", "1000", "--rejected", "25", "--any-time", "-o", str(new), "--json"]) == 1

    after = parse(new.read_bytes())
    assert after.card.calibration is not None
    assert [audit.finding for audit in after.card.calibration.audits] == ["confirmed", "violated"]
    assert (after.graph_sha256, after.threshold, after.log) == (before.graph_sha256, before.threshold, before.log)
    assert parse(promised.read_bytes()).digest == before.digest
    printed = capsys.readouterr().out
    assert f"written      {new}" in printed
    assert json.loads(printed.splitlines()[-1])["digest_after"] == after.digest
    assert main(["inspect", str(new)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("audit ")]
    assert [row.split(":")[1].strip() for row in rows] == ["violated", "confirmed"]
    assert "(the last of 2 audits)" in rows[0]


def test_a_new_calibration_begins_without_audits(promised: Path) -> None:
    audit, _ = audit_file(calibration_in(promised.read_bytes()), rejects=0, parts=299, date="2026-11-30")
    audited = with_audit(promised.read_bytes(), audit)

    again = calibrate(
        audited,
        scores_of(np.random.default_rng(1).gamma(4.0, 0.05, 300)),
        CalibrationRequest(promise=PromiseRequest(false_reject=0.01), date="2026-12-01"),
    )

    assert len(calibration_in(audited).audits) == 1
    assert calibration_in(again).audits == ()


def test_a_file_full_of_audits_takes_no_more(promised: Path) -> None:
    audit, _ = audit_file(calibration_in(promised.read_bytes()), rejects=0, parts=299, date="2026-11-30")
    model = parse(promised.read_bytes())
    full = replace(calibration_in(model.data), audits=(audit,) * MOST_AUDITS)
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)
    data = seal(model.data, card=replace(model.card, calibration=full), golden=model.golden, log=model.log, tail=tail)

    with pytest.raises(ConfigError, match=r"audits: expected at most 1000 in a file.*Calibrate the file again"):
        with_audit(data, audit)


def calibration_in(data: bytes) -> Calibration:
    calibration = parse(data).card.calibration
    assert calibration is not None
    return calibration


def test_without_scipy_the_error_names_the_extra(promised: Path) -> None:
    done = andon("audit", promised, "--good", "10", "--rejected", "0", hidden=["scipy"])

    assert done.returncode == 2
    assert "auditing needs scipy" in done.stderr
    assert "[calibrate]" in done.stderr
