"""`andon evaluate`: figures for people and for programs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.keys import keys_of

from andon.cli import EXIT_DONE, EXIT_USER, main

DOCUMENTED = {
    "n_good",
    "n_defect",
    "auroc",
    "aupr",
    "false_reject_rate",
    "miss_rate",
    "invalid",
    "threshold",
    "promise",
}


def test_pictures_give_one_object_with_the_documented_keys(
    frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str], golden_text: Callable[[str, str], None]
) -> None:
    assert main(["evaluate", str(frame_model), "--data", str(parts), "--json"]) == EXIT_DONE

    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    figures = json.loads(out)
    golden_text("evaluate_frames.txt", "\n".join(sorted(keys_of(figures))) + "\n")
    assert set(figures) >= DOCUMENTED | {"pixel_auroc", "aupro", "by_defect"}
    assert (figures["n_good"], figures["n_defect"], figures["auroc"]) == (6, 6, 1.0)
    assert figures["by_defect"]["stain"]["n"] == 6


def test_logs_give_one_object_by_file_and_in_all(
    window_model: Path, log: Path, capsys: pytest.CaptureFixture[str], golden_text: Callable[[str, str], None]
) -> None:
    assert main(["evaluate", str(window_model), "--data", str(log), "--json"]) == EXIT_DONE

    figures = json.loads(capsys.readouterr().out)
    golden_text("evaluate_logs.txt", "\n".join(sorted(keys_of(figures))) + "\n")
    assert figures["total"]["counts"]["caught"] == figures["total"]["counts"]["faults"] == 1
    assert [run["name"] for run in figures["runs"]] == ["pump.csv"]


def test_people_read_rates_types_of_defect_and_the_promise(
    frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(frame_model), "--data", str(parts)]) == EXIT_DONE

    out = capsys.readouterr().out
    assert "6 good, 6 defective, 0 INVALID" in out
    assert "as promised: with 95 % confidence" in out
    assert "AUPRO(0.3)" in out
    assert out.splitlines()[-1].split() == ["stain", "6", "1.0000", "0.0%"]


def test_people_read_faults_caught_beside_the_dummy(
    window_model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(window_model), "--data", str(log)]) == EXIT_DONE

    head, first, total, promise = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["file", "good", "faulty"]
    assert first.split()[0] == "pump.csv"
    assert "1/1" in total
    assert "rejecting at random" in promise


def test_labels_may_come_from_a_table(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "truth.csv"
    table.write_text("key,label,kind\ngood/0.png,good,\nstain/1.png,bad,oil\n", encoding="utf-8")

    code = main(["evaluate", str(frame_model), "--data", str(parts / "test"), "--truth", str(table), "--json"])

    figures = json.loads(capsys.readouterr().out)
    assert (code, figures["n_good"], figures["n_defect"], list(figures["by_defect"])) == (EXIT_DONE, 1, 1, ["oil"])


def test_a_table_of_labels_for_a_log_is_refused_rather_than_ignored(
    window_model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(window_model), "--data", str(log), "--truth", "t.csv"]) == EXIT_USER

    assert "--truth is for pictures" in capsys.readouterr().err


def test_pictures_without_a_known_truth_are_refused(
    frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(frame_model), "--data", str(parts / "test/good")]) == EXIT_USER

    assert "test/TYPE" in capsys.readouterr().err


def test_a_report_leaves_standard_output_to_the_figures(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(frame_model), "--data", str(parts), "--json", "--report", str(tmp_path / "pages")]

    assert main(words) == EXIT_DONE

    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    assert json.loads(out)["n_good"] == 6
    page = (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")
    assert "defect-01-overlay.png" in page
    assert str(parts.parent) not in page  # where files lie on this machine is nobody's business


def test_people_read_where_the_report_of_a_log_is(
    window_model: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(window_model), "--data", str(log), "--report", str(tmp_path)]) == EXIT_DONE

    assert str(tmp_path / "index.html") in capsys.readouterr().out.splitlines()[-1]
    assert (tmp_path / "fault-01.png").is_file() or (tmp_path / "weakest-01.png").is_file()


def test_a_folder_with_something_else_in_it_is_refused_before_anything_is_judged(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(tmp_path / "no.onnx"), "--data", str(parts), "--report", str(parts)]

    assert main(words) == EXIT_USER

    assert "holds no earlier report" in capsys.readouterr().err
