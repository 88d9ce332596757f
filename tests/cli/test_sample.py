"""`andon sample`: what is written where, and mistakes in one line."""

from pathlib import Path

import msgspec
import pytest
from tests.training.flat import train

from andon.cli import EXIT_DONE, EXIT_USER, main
from andon.sources.pictures.decode import decode_file
from andon.training.contract.synthetic_data import SyntheticFrames
from andon.training.detectors.memory_vae import TINY
from andon.training.observers.epochs import NONE


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "run"
    settings = msgspec.structs.replace(TINY, epochs=1)
    train("memory_vae", SyntheticFrames(40), folder, settings=settings, device="cpu", picture_epochs=NONE)
    return folder


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_gets_a_picture_each_and_the_sheet_that_was_asked_for(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", str(run_folder), "-o", str(tmp_path / "drawn"), "--count", "3", "--seed", "5", "--sheet"]

    assert main(words) == EXIT_DONE

    assert written(tmp_path / "drawn") == ["00000.png", "00001.png", "00002.png", "sheet.png"]
    assert decode_file(tmp_path / "drawn" / "00001.png").shape == (24, 24, 3)
    assert capsys.readouterr().out == f"written     {tmp_path / 'drawn'}: 3 parts\n"


def test_a_picture_gets_them_all(run_folder: Path, tmp_path: Path) -> None:
    assert main(["sample", str(run_folder), "-o", str(tmp_path / "sheet.png")]) == EXIT_DONE

    assert written(tmp_path) == ["sheet.png"]


def test_the_memory_is_written_by_the_numbers_of_its_items(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", str(run_folder), "-o", str(tmp_path), "--memory", "--count", "5", "--sheet"]) == EXIT_DONE

    names = written(tmp_path)
    assert len(names) == 6
    assert all(name == "sheet.png" or name.startswith("item_00") for name in names)
    assert "5 items" in capsys.readouterr().out


@pytest.mark.parametrize("there", ["00007.png", "item_0003.png"])
def test_a_folder_with_samples_in_it_is_refused_and_left_as_it_is(
    there: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / there).write_bytes(b"kept")

    code = main(["sample", str(run_folder), "-o", str(tmp_path), "--count", "3"])

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n"), written(tmp_path)) == (EXIT_USER, "", 1, [there])
    assert (
        f"{tmp_path}: expected a folder without earlier samples, got 1 picture of an earlier sample, for example {there}"
        in err
    )
    assert "another folder, or remove the pictures" in err


def test_other_files_in_the_folder_are_no_hindrance(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "readme.png").write_bytes(b"kept")

    assert main(["sample", str(run_folder), "-o", str(tmp_path), "--count", "2"]) == EXIT_DONE

    assert written(tmp_path) == ["00000.png", "00001.png", "readme.png"]


MISTAKES = [
    (["-o", "x.jpg"], "expected a folder, or a FILE.png"),
    (["-o", "x.png", "--sheet"], "which is a sheet already"),
    (["-o", "x", "--memory", "--seed", "1"], "--memory generates no random parts. Leave out --seed"),
    (["-o", "x", "--count", "0"], "expected an integer from 1"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("words", "told"), MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: list[str], told: str, run_folder: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["sample", str(run_folder), *words])

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (EXIT_USER, "", 1)
    assert told in err
    assert written(here) == []
