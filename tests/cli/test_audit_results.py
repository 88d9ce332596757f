"""`andon audit RESULTS`: findings about stored verdicts, the comparison of two models, and a picture."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.cli.keys import keys_of
from tests.cli.running import andon
from tests.evaluation.results.folders import identity, write_results

from andon.archive.results import MANIFEST
from andon.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of a month: line L2 rejects too many good parts, line L1 does not."""
    return _month(tmp_path_factory.mktemp("results") / "new", "new")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same items, judged by a model that is worse on line L2."""
    return _month(tmp_path_factory.mktemp("results") / "old", "old")


def _month(path: Path, model: str) -> Path:
    count = 6000
    place = np.arange(count)
    rejected = (place % 2 == 1) & (place % 61 == 0) if model == "new" else place % 41 == 0
    scores = np.where(rejected, 1.5 + place / count, 0.5)
    scores[7] = np.nan
    return write_results(
        path,
        scores,
        judged_by=identity(model),
        line=[("L1", "L2")[number % 2] for number in place],
        day=20_700 + place * 30 / count,
        lot=[f"lot {number // 600:02}" for number in place],
        label=[None if number % 10 == 9 else "good" for number in place],
    )


def test_the_text_has_the_finding_the_groups_and_the_comparison(
    folder: Path,
    older: Path,
    capsys: pytest.CaptureFixture[str],
    golden_text: Callable[[str, str], None],
) -> None:
    assert main(["audit", str(folder), "--against", str(older)]) == 1

    golden_text("audit_results.txt", capsys.readouterr().out)


@pytest.mark.parametrize(("name", "start"), [("drift.svg", b"<?xml"), ("drift.PNG", b"\x89PNG")])
def test_the_picture_is_written_as_its_name_says(
    tmp_path: Path, name: str, start: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_results(tmp_path / "r", np.zeros(400), label=["good"] * 400, day=[5.0] * 400)

    assert main(["audit", str(folder), "-o", str(tmp_path / name)]) == 0

    assert (tmp_path / name).read_bytes().startswith(start)
    assert capsys.readouterr().out.endswith(f"written      {tmp_path / name}\n")


def test_the_object_has_the_golden_keys(
    folder: Path, older: Path, capsys: pytest.CaptureFixture[str], golden_text: Callable[[str, str], None]
) -> None:
    assert main(["audit", str(folder), "--against", str(older), "--json"]) == 1

    facts = json.loads(capsys.readouterr().out)
    golden_text("audit_results_keys.txt", "\n".join(sorted(keys_of(facts))) + "\n")
    assert facts["finding"] == "confirmed"
    assert [(group["name"], group["violated_after_correction"]) for group in facts["groups"]["line"]] == [
        ("L1", False),
        ("L2", True),
    ]
    assert facts["back_test"]["decisions"]["parts"] == 5999
    assert facts["back_test"]["lost"] == 1


def test_the_code_is_that_of_the_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write_results(tmp_path / "good", np.zeros(299), label=["good"] * 299)
    few = write_results(tmp_path / "few", np.zeros(200), label=["good"] * 200)
    unlabelled = write_results(tmp_path / "unlabelled", np.zeros(5000), line=["a", "b"] * 2500)

    assert main(["audit", str(good)]) == 0
    assert main(["audit", str(good), "--any-time"]) == 3
    assert main(["audit", str(few)]) == 3
    capsys.readouterr()
    assert main(["audit", str(unlabelled)]) == 3

    out = capsys.readouterr().out
    assert out.startswith(
        "no labels: 0 of 5000 parts were rejected, with 95 % confidence at most 0.0599 % of such parts."
    )
    assert "confirmed" not in out
    assert "a  0 of 2500 rejected (0 %), at most 0.12 %" in out


def test_without_labels_the_object_has_bounds_and_no_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_results(tmp_path / "r", np.repeat([0.0, 2.0], [999, 1]), line=["a", "b"] * 500)

    assert main(["audit", str(folder), "--json"]) == 3

    facts = json.loads(capsys.readouterr().out)
    assert "finding" not in facts
    assert (facts["parts"], facts["rejects"]) == (1000, 1)
    assert [group["name"] for group in facts["groups"]["line"]] == ["a", "b"]


def test_repeated_items_are_reported_and_contradictions_can_be_separated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = {"item_id": ["a", "b", "a"], "label": ["good"] * 3}
    write_results(tmp_path / "equal", [0.5] * 3, **columns)  # type: ignore[arg-type]
    write_results(tmp_path / "other", [0.5, 0.5, 0.6], **columns)  # type: ignore[arg-type]

    assert main(["audit", str(tmp_path / "equal")]) == 3
    assert "repeated     1 row is equal to another row of the same item." in capsys.readouterr().out
    assert main(["audit", str(tmp_path / "other")]) == 2
    assert "--separate-repeats" in capsys.readouterr().err
    assert main(["audit", str(tmp_path / "other"), "--separate-repeats"]) == 3
    assert "3 good parts, from 3 rows" in capsys.readouterr().out
    assert main(["audit", str(tmp_path / "other"), "--separate-repeats", "--against", str(tmp_path / "equal")]) == 2
    assert "--separate-repeats: it has no meaning with --against" in capsys.readouterr().err


def test_results_that_are_not_complete_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_results(tmp_path / "r", np.zeros(299), label=["good"] * 299, complete=False)

    assert main(["audit", str(folder)]) == 0

    assert "incomplete   blocks of the input have no results yet" in capsys.readouterr().out


def test_names_of_lines_cannot_send_commands_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_results(tmp_path / "r", np.zeros(4), label=["good"] * 4, line=["a", "a", "\x1b[2J", "\x1b[2J"])

    assert main(["audit", str(folder)]) == 3

    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--by", "shift"], "--by: expected line, day or lot, or several with commas, got 'shift'"),
        (["--good", "10"], "--good: it has no meaning with a folder of results"),
        (["-o", "drift.pdf"], "--out: expected a name that ends with .png or .svg, got drift.pdf"),
        (["--good-label", "fine"], "expected rows with the label 'fine', got 'good'"),
        (
            ["--against", "nowhere"],
            "nowhere: expected _manifest.json, which 'andon score --out' writes last, found none",
        ),
        (["--confidence", "95"], "confidence: expected a fraction between 0 and 1"),
    ],
)
def test_mistakes_are_answered_with_what_helps(
    folder: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(folder), *flags]) == 2

    assert message in capsys.readouterr().err


def test_a_wrong_name_of_a_picture_is_reported_before_the_rows_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_results(tmp_path / "r", np.zeros(4))
    (folder / "blocks/000000.parquet").unlink()

    assert main(["audit", str(folder), "-o", "drift.jpg"]) == 2

    assert "--out: expected a name that ends with .png or .svg" in capsys.readouterr().err


def test_items_without_a_time_cannot_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_results(tmp_path / "r", np.zeros(4), label=["good"] * 4)

    assert main(["audit", str(folder), "-o", str(tmp_path / "drift.png")]) == 2

    assert "expected items with the time of their capture, got none" in capsys.readouterr().err
    assert not (tmp_path / "drift.png").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema": 5', b"\xff\xfe"])
def test_a_damaged_manifest_is_an_error(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_results(tmp_path / "r", np.zeros(4))
    (folder / MANIFEST).write_bytes(content)

    assert main(["audit", str(folder)]) == 2

    assert "expected a manifest of results, got another content" in capsys.readouterr().err


def test_a_folder_without_results_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(tmp_path)]) == 2

    assert "expected _manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize(("hidden", "extra"), [("pyarrow", "archive"), ("scipy", "calibrate")])
def test_without_a_package_the_error_names_the_extra(folder: Path, hidden: str, extra: str) -> None:
    done = andon("audit", folder, hidden=[hidden])

    assert done.returncode == 2
    assert f"needs {hidden}" in done.stderr
    assert f"[{extra}]" in done.stderr


def test_a_model_file_needs_the_counts_and_has_no_groups(frame_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(frame_model)]) == 2
    assert "expected --good with a number of parts, for example --good 600 --rejected 1" in capsys.readouterr().err
    assert main(["audit", str(frame_model), "--good", "10", "--rejected", "0", "--by", "line"]) == 2
    assert "--by: it has no meaning with a model file" in capsys.readouterr().err


def test_a_path_that_does_not_exist_is_reported_before_missing_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(tmp_path / "resluts")]) == 2

    assert (
        "resluts: expected a model file or a folder of results, got no such file or folder" in capsys.readouterr().err
    )
