"""Ignore mask and region from the command line: trained, exported, shown, and kept to one frame size."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from tests.cli.conftest import write_picture

from andon.cli import EXIT_DONE, EXIT_PARTLY, EXIT_USER, main
from andon.runtime.schema import Status
from andon.training.contract.synthetic_data import synthetic_frame

SIZE = (64, 96)
TRAIN = ["train", "pixel_knn", "--size", "24", "--picture-epochs", "none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with good parts, a mask, a run and a model file."""
    root = tmp_path_factory.mktemp("masks")
    for number in range(40):
        write_picture(root / f"parts/{number}.png", synthetic_frame(number, SIZE))
    mask = np.zeros(SIZE, np.uint8)
    mask[:20, :50] = 255
    assert cv2.imwrite(str(root / "date.png"), mask)
    words = [*TRAIN, "--data", str(root / "parts"), "--out", str(root / "run")]
    words += ["--ignore", str(root / "date.png"), "--ignore", "90,0,96,64", "--region", "0,0,96,60"]
    assert main(words) == EXIT_DONE
    assert main(["export", str(root / "run"), "-o", str(root / "model.onnx"), "--no-promise"]) == EXIT_DONE
    return root


def test_inspect_shows_both_masks_and_their_digests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder / "model.onnx")]) == EXIT_DONE
    text = capsys.readouterr().out
    assert main(["inspect", str(folder / "model.onnx"), "--json"]) == EXIT_DONE
    card = json.loads(capsys.readouterr().out)

    assert (
        f"ignore      22.5 % of the 64 x 96 pixels do not count   (sha256 {card['input']['ignore']['sha256'][:12]})"
        in text
    )
    assert "region      93.8 % of the 64 x 96 pixels count, and no others" in text
    assert len(card["input"]["ignore"]["outline"]) == 2


def test_a_part_with_another_print_is_good_and_a_part_with_a_stain_is_not(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, stained = synthetic_frame(0, SIZE), synthetic_frame(0, SIZE)
    good[2:18, 2:48] = np.random.default_rng(0).integers(0, 256, (16, 46, 3))
    stained[30:50, 40:70] = 255
    write_picture(tmp_path / "parts/printed.png", good)
    write_picture(tmp_path / "parts/stained.png", stained)

    main(["score", str(folder / "model.onnx"), str(tmp_path / "parts"), "--json", "--overlay", str(tmp_path / "heat")])

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] for row in rows] == [Status.OK.name, Status.REJECT.name]
    drawn = np.asarray(cv2.imread(str(tmp_path / "heat/printed.png")), np.uint8)
    assert np.all(drawn == 150, axis=2).any()  # hatched


@pytest.mark.parametrize("flags", [[], ["--frame-size", "any"]])
def test_frames_of_another_size_are_invalid(
    flags: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "parts/0.png", synthetic_frame(0, (60, 96)))

    code = main(["score", str(folder / "model.onnx"), str(tmp_path / "parts"), *flags])

    out, err = capsys.readouterr()
    assert code == EXIT_PARTLY
    assert "INVALID" in out
    assert "the size of the file's region, got 60 x 96" in out + err


def test_parts_of_another_size_cannot_calibrate(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        write_picture(tmp_path / f"parts/{number}.png", synthetic_frame(number, (60, 96)))

    code = main(
        [
            "calibrate",
            str(folder / "model.onnx"),
            "--good",
            str(tmp_path / "parts"),
            "--no-promise",
            "-o",
            str(tmp_path / "new.onnx"),
        ]
    )

    assert code == EXIT_USER
    assert "wrong input" in capsys.readouterr().err.lower().replace("_", " ")
    assert not (tmp_path / "new.onnx").exists()


def test_calibration_keeps_the_masks(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--good", str(folder / "parts"), "--no-promise", "-o", str(tmp_path / "new.onnx")]

    assert main(["calibrate", str(folder / "model.onnx"), *words]) == EXIT_DONE
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "new.onnx")]) == EXIT_DONE

    assert "22.5 % of the 64 x 96 pixels do not count" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--ignore", "missing.png"], "--ignore missing.png: expected a black and white picture"),
        (["--region", "0,0,97,64"], "--region 0,0,97,64: expected x from 0 to 96"),
        (["--region", "0,0,96,64"], "Leave the flag out"),
        (["--ignore", "0,0,96,63"], "masks: expected"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_made(
    flags: list[str], says: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*TRAIN, "--data", str(folder / "parts"), "--out", str(tmp_path / "run"), *flags])

    err = capsys.readouterr().err
    assert code == EXIT_USER
    assert says in err
    assert not (tmp_path / "run").exists()


def test_sensor_logs_have_no_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "train",
        "pca",
        "--data",
        "power_converter:runs=100,rows=16",
        "--steps",
        "16",
        "--out",
        str(tmp_path / "run"),
    ]

    assert main([*words, "--ignore", "0,0,10,10"]) == EXIT_USER

    assert "--ignore: expected frames, got sensor logs. Leave out --ignore." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--ignore", "0,0,50,20"], "expected --ignore as in the first run, got another one"),
        (["--region", "0,0,96,64", "--ignore", "0,0,50,20"], "expected --ignore as in the first run, got another one"),
        (["--region", "0,0,96,59"], "expected --region as in the first run, got another one"),
    ],
)
def test_a_run_is_not_resumed_with_other_masks(
    folder: Path, words: list[str], refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    again = [*TRAIN, "--data", str(folder / "parts"), "--out", str(folder / "run"), "--resume"]

    assert main([*again, *words]) == EXIT_USER
    assert refusal in capsys.readouterr().err
    assert main([*again, "--region", "0,0,96,60"]) == EXIT_DONE
    assert main(again) == EXIT_DONE


def test_a_run_without_masks_is_not_resumed_with_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TRAIN, "--data", str(folder / "parts"), "--out", str(tmp_path / "run")]
    assert main(words) == EXIT_DONE

    assert main([*words, "--resume", "--ignore", "0,0,50,20"]) == EXIT_USER
    assert "expected --ignore as in the first run, got one, but that run has none" in capsys.readouterr().err


LARGE = (150, 220)
DATE = (5, 60, 5, 85)
"""Top, bottom, left and right of a printed date."""
TILED = ["train", "patchcore", "--preset", "fast", "--size", "64", "--taps", "4", "--memory-mb", "0.02"]
TILED += ["--candidates", "600", "--tile", "auto", "--picture-epochs", "none"]


def large_part(seed: int, *, spot: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Return a large frame with a random print in the area of the date, and a spot with this top left corner."""
    frame = synthetic_frame(seed, LARGE)
    top, bottom, left, right = DATE
    print_of_day = np.random.default_rng(seed).integers(0, 2, (11, 16, 1), np.uint8) * np.uint8(255)
    frame[top:bottom, left:right] = print_of_day.repeat(5, axis=0).repeat(5, axis=1)
    if spot is not None:
        frame[spot[0] : spot[0] + 8, spot[1] : spot[1] + 8] = 255
    return frame


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tree of large frames, a run with a mask and tiles, and its model file."""
    root = tmp_path_factory.mktemp("tiled")
    for number in range(50):
        write_picture(root / f"tree/train/good/{number:02}.png", large_part(number))
    for number in range(6):
        write_picture(root / f"tree/test/good/{number}.png", large_part(100 + number))
        write_picture(root / f"tree/test/spot/{number}.png", large_part(200 + number, spot=(100, 20 + 30 * number)))
    words = [*TILED, "--data", str(root / "tree"), "--out", str(root / "run"), "--ignore", "0,0,90,65"]
    assert main(words) == EXIT_DONE
    assert main(["export", str(root / "run"), "-o", str(root / "model.onnx"), "--no-promise"]) == EXIT_DONE
    return root


@pytest.mark.slow
def test_with_tiles_defects_are_found_outside_the_mask_only(
    tiled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = large_part(300)
    write_picture(tmp_path / "parts/defect.png", large_part(300, spot=(100, 150)))
    write_picture(tmp_path / "parts/good.png", good)
    good[10:50, 10:80] = np.random.default_rng(0).integers(0, 256, (40, 70, 3))
    write_picture(tmp_path / "parts/printed.png", good)

    main(["score", str(tiled / "model.onnx"), str(tmp_path / "parts"), "--json", "--overlay", str(tmp_path / "heat")])

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] for row in rows] == [Status.REJECT.name, Status.OK.name, Status.OK.name]
    assert rows[1]["score"] == rows[2]["score"]  # bit for bit
    drawn = np.asarray(cv2.imread(str(tmp_path / "heat/printed.png")), np.uint8)
    assert np.all(drawn == 150, axis=2).any()  # hatched


@pytest.mark.slow
def test_inspect_names_mask_and_tiles_that_it_leaves_out(tiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tiled / "model.onnx")]) == EXIT_DONE

    text = capsys.readouterr().out
    assert "4 rows x 6 columns with an overlap of 32 px" in text
    assert "1 of the tiles has no pixel that counts and is left out" in text
    assert "ignore      17.7 % of the 150 x 220 pixels do not count" in text


@pytest.mark.slow
@pytest.mark.parametrize("synthetic", [False, True], ids=["labelled", "synthetic"])
def test_the_report_of_a_file_with_mask_and_tiles_has_hatched_pictures(
    tiled: Path, tmp_path: Path, synthetic: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tiled / "tree" / ("test/good" if synthetic else "")
    words = ["evaluate", str(tiled / "model.onnx"), "--data", str(data), "--json"]

    code = main([*words, "--synthetic"] if synthetic else [*words, "--report", str(tmp_path / "page")])

    figures = json.loads(capsys.readouterr().out)
    assert code == EXIT_DONE
    if synthetic:  # the region is flat, so some kinds of damage cannot be drawn
        assert figures["n_defect"] >= 6
        assert figures["auroc"] > 0.8
    else:
        assert (figures["auroc"], figures["invalid"]) == (1.0, 0)
        assert "hatched" in (tmp_path / "page/index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_an_interrupted_run_with_mask_and_tiles_is_resumed_to_the_same_memory(tiled: Path, tmp_path: Path) -> None:
    from andon.training.runs.record import read_record, write_record
    from andon.training.runs.run_folder import load

    run = tmp_path / "run"
    shutil.copytree(tiled / "run", run)
    write_record(run, replace(read_record(run), finished=False))

    assert main([*TILED, "--data", str(tiled / "tree"), "--out", str(run), "--resume"]) == EXIT_DONE

    first, again = load(tiled / "run"), load(run)
    assert again.spec == first.spec
    stored = first.scorer.state_dict()
    assert all(np.array_equal(values, stored[name]) for name, values in again.scorer.state_dict().items())
