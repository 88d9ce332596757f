"""`andon init`: its files run as they are on a base install, and it replaces nothing without --force."""

from pathlib import Path

import pytest
from tests.cli.running import andon

from andon.cli import EXIT_DONE, EXIT_USER, main


def test_the_example_is_checked_and_runs_on_a_base_install(tmp_path: Path) -> None:
    hidden = ("torch", "onnx", "scipy", "sklearn", "cv2", "PIL", "matplotlib")
    file = tmp_path / "line.toml"
    for words in (("init", file), ("check", file), ("monitor", file)):
        ended = andon(*words, hidden=hidden)
        assert ended.returncode == EXIT_DONE, ended.stdout + ended.stderr

    verdicts = (tmp_path / "verdicts.jsonl").read_text(encoding="utf-8")
    assert verdicts.count('"status":"REJECT"') > 50
    assert verdicts.count('"status":"OK"') > 1000


def test_the_file_has_a_default_name_and_both_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["init"]) == EXIT_DONE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["line.toml", "power_converter.onnx"]
    assert capsys.readouterr().out.split() == [
        "written", "line.toml", "written", "power_converter.onnx", "next", "andon", "check", "line.toml",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["line.toml", "power_converter.onnx"])
def test_an_existing_file_is_replaced_only_with_force(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")

    assert main(["init", str(tmp_path / "line.toml")]) == EXIT_USER
    assert (
        f"{name}: expected a new name, got an existing file. Choose another name, or give --force."
        in capsys.readouterr().err
    )
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [(name, "mine")]
    assert main(["init", str(tmp_path / "line.toml"), "--force"]) == EXIT_DONE
    assert (tmp_path / name).read_bytes() != b"mine"


def test_several_examples_share_the_model_file(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "a.toml")]) == EXIT_DONE
    assert main(["init", str(tmp_path / "b.toml")]) == EXIT_DONE


def test_a_name_that_the_monitor_would_take_for_a_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "line.conf")]) == EXIT_USER

    assert "line.conf: expected a name that ends in .toml" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
