"""`andon check` and `andon monitor LINE.toml` as commands: exit codes, what they print, and what they never print."""

import json
import logging
import subprocess
from pathlib import Path

import pytest
from tests.cli.running import andon

from andon.cli import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_PARTLY, EXIT_USER, main

CANARY = "canary-7f3a"


@pytest.fixture
def plant(tmp_path: Path, frame_model: Path, parts: Path) -> Path:
    """Return the file of a line that judges a folder of pictures, in a folder of its own."""
    file = tmp_path / "plant" / "line.toml"
    file.parent.mkdir()
    file.write_text(
        f"""
[[line]]
name = "press-3"
model = "{frame_model}"

[line.source]
kind = "images"
path = "{parts / "test"}"
follow = false

[[line.sinks]]
kind = "json_lines"
path = "v.jsonl"
""",
        encoding="utf-8",
    )
    return file


def changed(file: Path, old: str, new: str) -> Path:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    return file


def test_a_line_that_can_run_is_checked_and_then_monitored(plant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(plant)]) == EXIT_DONE
    out = capsys.readouterr().out.splitlines()
    assert [text.split(": ")[:3] for text in out] == [
        ["press-3", "model", "ok"],
        ["press-3", "source", "ok"],
        ["press-3", "sink 1 (json_lines)", "ok"],
    ]
    assert list(plant.parent.iterdir()) == [plant]

    assert main(["monitor", str(plant)]) == EXIT_DONE
    verdicts = [
        json.loads(text)["status"] for text in (plant.parent / "v.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert sorted(verdicts) == ["OK"] * 6 + ["REJECT"] * 6


def test_the_file_and_the_short_form_give_the_same_verdicts(
    plant: Path, frame_model: Path, parts: Path, tmp_path: Path
) -> None:
    assert main(["monitor", str(plant)]) == EXIT_DONE
    out = tmp_path / "short.jsonl"
    assert main(["monitor", str(frame_model), str(parts / "test"), "--no-follow", "--out", str(out)]) == EXIT_DONE

    def verdicts(path: Path) -> list[dict[str, object]]:
        lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
        return [{key: value for key, value in line.items() if key not in ("at", "line")} for line in lines]

    assert verdicts(plant.parent / "v.jsonl") == verdicts(out)


def test_a_line_that_could_not_run_is_exit_code_1(plant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(plant, 'path = "v.jsonl"', 'path = "missing/v.jsonl"')

    assert main(["check", str(plant), "--json"]) == EXIT_CHECK_FAILED
    findings = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [finding["ok"] for finding in findings] == [True, True, False]
    assert set(findings[0]) == {"line", "subject", "ok", "text", "warning"}


@pytest.mark.parametrize("command", ["check", "monitor"])
def test_a_wrong_file_is_exit_code_2_and_one_line(
    command: str, plant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(plant, "follow =", "folow =")

    assert main([command, str(plant)]) == EXIT_USER
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "line.toml: line[0].source.folow: unknown key (did you mean 'follow'?)." in captured.err


@pytest.mark.parametrize("command", ["check", "monitor"])
def test_two_lines_that_write_to_one_file_are_refused(
    command: str, plant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = plant.read_text(encoding="utf-8")
    plant.write_text(text + text.replace("press-3", "press-4"), encoding="utf-8")

    assert main([command, str(plant)]) == EXIT_USER
    expected = "line[1].sinks[0].path: expected a file of its own, got that of line[0].sinks[0].path. Rename one."
    assert expected in capsys.readouterr().err


def test_several_lines_run_in_one_process_and_each_reports_its_own_counters(
    plant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = plant.read_text(encoding="utf-8")
    plant.write_text(text + text.replace("press-3", "press-4").replace("v.jsonl", "w.jsonl"), encoding="utf-8")

    assert main(["check", str(plant)]) == EXIT_DONE
    assert main(["monitor", str(plant)]) == EXIT_DONE
    last = capsys.readouterr().err.splitlines()[-2:]
    assert [line.split(" = ")[0] for line in last] == ["andon: press-3: grabbed 12", "andon: press-4: grabbed 12"]
    for name, file in (("press-3", "v.jsonl"), ("press-4", "w.jsonl")):
        lines = [json.loads(one) for one in (plant.parent / file).read_text(encoding="utf-8").splitlines()]
        assert {line["line"] for line in lines} == {name}
        assert len(lines) == 12


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["folder"], "expected no SOURCE, because the file names it, got folder."),
        (["--threads", "2", "--follow"], "--threads, --follow: expected no settings on the command line, because"),
        (["--out", "x", "--sink", "json_lines"], "--out, --sink: expected no settings on the command line"),
        (["--no-follow"], "--follow: expected no settings"),
    ],
)
def test_words_next_to_a_line_file_are_refused(
    words: list[str], why: str, plant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", str(plant), *words]) == EXIT_USER

    assert why in capsys.readouterr().err


def test_a_model_file_without_a_source_is_refused(frame_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["monitor", str(frame_model)]) == EXIT_USER

    assert "expected FILE.onnx and SOURCE, or LINE.toml, got no SOURCE." in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "3601"])
def test_a_time_limit_out_of_bounds_is_refused(text: str, plant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(plant), "--timeout-s", text]) == EXIT_USER

    assert "--timeout-s: expected a number of seconds > 0 and <= 3600" in capsys.readouterr().err


@pytest.fixture
def camera(plant: Path) -> Path:
    """Return the file of a line with a camera that does not answer, whose address is a secret file."""
    text = plant.read_text(encoding="utf-8")
    begin, end = text.index("[line.source]"), text.index("[[line.sinks]]")
    source = '[line.source]\nkind = "camera"\naddress = { file = "url" }\nstale_after_s = 0.2\nreopen_s = 0.1\n\n'
    plant.write_text(
        text[:begin].replace('name = "press-3"', 'name = "press-3"\nlimit = 2') + source + text[end:], encoding="utf-8"
    )
    (plant.parent / "url").write_text(f"http://user:{CANARY}@127.0.0.1:9/line?token={CANARY}\n", encoding="utf-8")
    return plant


def output(ended: "subprocess.CompletedProcess[str]", folder: Path) -> str:
    """Return all that a process printed and wrote, except the secret file itself."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "url"]
    return ended.stdout + ended.stderr + "".join(path.read_text(encoding="utf-8") for path in files)


def test_a_secret_is_in_no_output_log_or_error(camera: Path) -> None:
    checked = andon("-v", "check", camera, "--timeout-s", "1")
    monitored = andon("-v", "monitor", camera)

    assert checked.returncode == EXIT_CHECK_FAILED
    assert "press-3: source: FAILED: the secret file" in checked.stdout
    assert monitored.returncode == EXIT_PARTLY
    assert "STALE" in monitored.stderr
    assert "127.0.0.1" in (camera.parent / "v.jsonl").read_text(encoding="utf-8")
    for ended in (checked, monitored):
        assert CANARY not in output(ended, camera.parent)


@pytest.mark.parametrize(
    "new",
    [
        f'address = "rtsp://user:{CANARY}@cam/x"\n#',
        f'password = "{CANARY}"\n#',
        f'address = {{ value = "{CANARY}" }}\n#',
        f'address = "{CANARY}\n#',
    ],
)
@pytest.mark.parametrize("command", ["check", "monitor"])
def test_a_secret_that_is_written_into_the_file_is_in_no_error(
    command: str, new: str, camera: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    changed(camera, "address = { file", new)

    assert main([command, str(camera), "-v"]) == EXIT_USER
    captured = capsys.readouterr()
    assert captured.err
    assert CANARY not in captured.err + captured.out + caplog.text


def test_a_secret_that_is_no_url_is_in_no_error(camera: Path) -> None:
    (camera.parent / "url").write_text(CANARY, encoding="utf-8")
    checked, monitored = andon("-v", "check", camera), andon("-v", "monitor", camera)

    assert (checked.returncode, monitored.returncode) == (EXIT_CHECK_FAILED, EXIT_USER)
    for ended in (checked, monitored):
        assert "expected a URL" in ended.stdout + ended.stderr
        assert CANARY not in output(ended, camera.parent)
