"""`andon recommend`: flags and exit codes."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import write_picture

from andon.cli import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USER, main
from andon.training.contract.synthetic_data import synthetic_frame

MISTAKES = [
    (["--budget-ms", "0"], "--budget-ms: expected milliseconds for each frame above 0, got 0"),
    (["--budget-ms", "nan"], "--budget-ms: expected milliseconds"),
    (["--budget-ms", "30", "--gain", "2"], "--gain: expected a difference in AUROC from 0 to 1, got 2"),
    (["--budget-ms", "30", "--bench-seconds", "0"], "--bench-seconds: expected more than 0"),
    (["--budget-ms", "30"], "missing: does not exist"),
    ([], "--budget-ms"),
]


@pytest.mark.parametrize(("words", "told"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_line_and_nothing_is_made(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["recommend", "--data", str(tmp_path / "missing"), "--out", str(tmp_path / "out"), *words])

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (EXIT_USER, "", 1)
    assert told in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_whole_menu_gives_one_sentence_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(20):
        write_picture(tmp_path / f"parts/{number}.png", synthetic_frame(number, (96, 96)))
    words = ["recommend", "--data", str(tmp_path / "parts"), "--out", str(tmp_path / "out"), "--threads", "1"]
    words += ["--device", "cpu", "--bench-seconds", "0.02"]

    assert main([*words, "--budget-ms", "100000"]) == EXIT_DONE

    out = capsys.readouterr().out
    assert out.startswith("Ship ")
    assert "real AUROC" not in out
    assert "With 20 good parts (fewer than 60)" in out
    assert f"model            {tmp_path / 'out/model.onnx'}" in out
    warned = [record for record in caplog.records if "few good parts" in record.getMessage()]
    assert len(warned) == 1  # by the final training only

    assert main([*words, "--budget-ms", "0.000001", "--json"]) == EXIT_CHECK_FAILED

    found = json.loads(capsys.readouterr().out)
    assert (found["chosen"], len(found["rows"])) == (None, 5)
