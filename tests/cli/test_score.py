"""`andon score`: one line per item, also for items that cannot be judged."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import write_picture
from tests.cli.running import andon
from tests.runtime.hand_made import frame

from andon.cli import EXIT_DONE, EXIT_PARTLY, EXIT_USER, main
from andon.runtime import Detector
from andon.sources.pictures.decode import decode_file

KEYS = ["item", "status", "reason", "score", "level", "p_value", "threshold", "model"]


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_picture_is_one_object_with_the_documented_keys(
    frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(frame_model), str(parts / "test"), "--json"]) == EXIT_DONE

    lines = _lines(capsys)
    assert [list(line) for line in lines] == [KEYS] * 12
    assert [line["item"] for line in lines[:2]] == ["good/0.png", "good/1.png"]
    assert [line["status"] for line in lines] == ["OK"] * 6 + ["REJECT"] * 6
    assert {line["model"] for line in lines} == {Detector.load(frame_model).model.short_digest}


def test_the_line_is_what_three_lines_of_python_say(
    frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = parts / "test/stain/0.png"
    verdict = Detector.load(frame_model)(decode_file(picture))

    assert main(["score", str(frame_model), str(picture), "--json"]) == EXIT_DONE

    assert _lines(capsys) == [{"item": "0.png"} | verdict.to_dict()]


def test_what_a_verdict_rests_on_is_told_when_asked_for_without_maps(
    frame_model: Path, window_model: Path, parts: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = parts / "test/stain/0.png"
    evidence = Detector.load(frame_model)(decode_file(picture)).evidence
    assert main(["score", str(frame_model), str(picture), "--json", "--evidence"]) == EXIT_DONE
    of_frame = _lines(capsys)[0]
    assert main(["score", str(window_model), str(log), "--json", "--evidence"]) == EXIT_DONE
    of_window = _lines(capsys)[0]

    assert "anomaly_map" in evidence
    assert set(of_frame["evidence"]) == {name for name, array in evidence.items() if array.ndim < 2}  # type: ignore[call-overload]
    assert len(of_window["evidence"]["channel_scores"]) > 1  # type: ignore[index]


def test_evidence_without_json_is_refused(frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(frame_model), str(parts / "test"), "--evidence"]) == EXIT_USER

    assert "--json" in capsys.readouterr().err


def test_windows_of_a_log_are_scored_by_the_same_command(
    window_model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(window_model), str(log), "--json"]) == EXIT_DONE

    lines = _lines(capsys)
    assert len(lines) == 20
    assert [place for place, line in enumerate(lines) if line["status"] == "REJECT"] == [10, 11, 12]


def test_an_unreadable_picture_is_invalid_the_others_are_judged_and_the_exit_code_is_three(
    frame_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "a.png", frame(1))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:100])
    write_picture(tmp_path / "c.png", frame(2))

    assert main(["score", str(frame_model), str(tmp_path), "--json"]) == EXIT_PARTLY

    lines = _lines(capsys)
    assert [line["status"] for line in lines] == ["OK", "INVALID", "OK"]
    assert [lines[1][key] for key in ("score", "level", "p_value")] == [None, None, None]
    assert lines[1]["threshold"] == 0.25
    assert str(lines[1]["reason"]).startswith("unreadable")


def test_a_black_frame_was_judged_so_that_it_is_invalid_with_exit_code_zero(
    frame_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "a.png", np.zeros((32, 48, 3), np.uint8))

    assert main(["score", str(frame_model), str(tmp_path)]) == EXIT_DONE

    head, line = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == ["INVALID", "a.png:"]
    assert "no contrast" in line
    assert head.index("item") == line.index("a.png")


def test_the_columns_stand_below_their_heads(
    frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(frame_model), str(parts / "test/good")]) == EXIT_DONE

    head, *lines = capsys.readouterr().out.splitlines()
    assert {line.index(line.split()[-1]) for line in lines} == {head.index("item")}


def test_the_share_of_good_parts_with_such_a_score_has_a_clear_name_and_is_the_p_value_of_the_json(
    frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(frame_model), str(parts / "test"), "--json"]) == EXIT_DONE
    expected = [f"{line['p_value']:.2%}" for line in _lines(capsys)]
    assert main(["score", str(frame_model), str(parts / "test")]) == EXIT_DONE

    head, *lines = capsys.readouterr().out.splitlines()
    end = head.index("good as high") + len("good as high")
    assert [line[:end].split()[-1] for line in lines] == expected


def test_nothing_but_the_lines_is_told_when_piped(
    frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(frame_model), str(parts / "test"), "--json"]) == EXIT_DONE

    assert capsys.readouterr().err == ""


def test_a_frame_of_another_size_than_the_calibrated_one_is_invalid_and_the_others_are_judged(
    frame_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "a.png", frame(1))
    write_picture(tmp_path / "odd.png", frame(1, size=(40, 48)))
    write_picture(tmp_path / "z.png", frame(2, level=220))

    assert main(["score", str(frame_model), str(tmp_path), "--json"]) == EXIT_PARTLY
    lines = _lines(capsys)
    assert main(["score", str(frame_model), str(tmp_path)]) == EXIT_PARTLY
    out, err = capsys.readouterr()

    assert [(line["status"], line["reason"]) for line in lines] == [
        ("OK", ""),
        ("INVALID", "wrong_input"),
        ("REJECT", ""),
    ]
    assert out.splitlines()[2].split()[:2] == ["INVALID", "odd.png:"]
    assert "expected frames of 32 x 48 (height x width) as calibrated, got 40 x 48" in out.splitlines()[2]
    assert err == ""


def test_a_failure_of_the_runtime_is_invalid_and_the_others_are_judged(frame_model: Path, parts: Path) -> None:
    fails = """
from andon.runtime import Detector, JudgeError
judge = Detector.__call__
def call(self, item):
    if item.max() > 240:
        raise JudgeError("out of memory")
    return judge(self, item)
Detector.__call__ = call
"""

    told = andon("score", frame_model, parts / "test", "--json", before=fails)

    assert told.returncode == EXIT_PARTLY
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert [(line["status"], line["reason"]) for line in lines] == [("OK", "")] * 6 + [("INVALID", "failed")] * 6


def test_a_name_with_line_breaks_and_escapes_forges_no_line_and_stays_exact_in_json(
    frame_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a\nOK         -0.50          0.01   0.9000  part-0815.png", "b\x1b[2J.png", "c\u202egnp.png"]
    for name in names:
        write_picture(tmp_path / "plain.png", frame(1, level=220))
        (tmp_path / "plain.png").rename(tmp_path / name)

    assert main(["score", str(frame_model), str(tmp_path)]) == EXIT_DONE
    out = capsys.readouterr().out
    assert main(["score", str(frame_model), str(tmp_path), "--json"]) == EXIT_DONE

    assert len(out.splitlines()) == 4
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["REJECT"] * 3
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "a\\nOK" in out
    assert [line["item"] for line in _lines(capsys)] == names


@pytest.mark.parametrize("flags", [["--overlay", "heat"], ["--frame-size", "any"], ["--frame-size", "calibrated"]])
def test_flags_for_frames_are_refused_for_a_model_of_windows(
    flags: list[str], window_model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(window_model), str(log), *flags]) == EXIT_USER

    assert f"{flags[0]}: " in capsys.readouterr().err


def test_a_grey_picture_is_judged_as_a_colour_one(
    frame_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "grey.png", frame(1, channels=1))

    assert main(["score", str(frame_model), str(tmp_path), "--json"]) == EXIT_DONE

    assert _lines(capsys)[0]["status"] == "OK"


def test_another_size_is_judged_when_asked_for(
    frame_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "odd.png", frame(1, size=(40, 60)))

    assert main(["score", str(frame_model), str(tmp_path), "--frame-size", "any", "--json"]) == EXIT_DONE

    assert _lines(capsys)[0]["status"] == "OK"


def test_windows_for_a_model_of_frames_are_refused(
    frame_model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(frame_model), str(log)]) == EXIT_USER

    assert "judges frames" in capsys.readouterr().err


def test_the_overlay_of_a_part_lies_under_its_own_name_and_shows_the_stain(
    frame_model: Path, parts: Path, tmp_path: Path
) -> None:
    assert main(["score", str(frame_model), str(parts / "test"), "--overlay", str(tmp_path)]) == EXIT_DONE

    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert written == [f"{kind}/{number}.png" for kind in ("good", "stain") for number in range(6)]
    stained, plain = (decode_file(place / "stain/0.png") for place in (tmp_path, parts / "test"))
    shown = stained[:192, 6:294][3::6, 3::6]  # enlarged 6 times, with the verdict below
    changed = np.abs(shown.astype(int) - plain.astype(int)).mean(axis=2)
    assert changed[12:20, 18:30].mean() > 4 * changed[:, :4].mean()


def test_pictures_whose_names_differ_only_by_suffix_or_folder_do_not_overwrite_each_other(
    frame_model: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("one/a.png", "one/a.bmp", "one/a.BMP.png", "two/a.png")):
        write_picture(tmp_path / name, frame(number))
    out = tmp_path / "out"

    code = main(
        ["score", str(frame_model), str(tmp_path / "one"), str(tmp_path / "two"), "--overlay", str(out)],
    )

    assert code == EXIT_DONE
    assert len(list(out.rglob("*.png"))) == 4


def test_items_of_several_paths_bear_as_much_of_the_path_as_tells_them_apart(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(parts / "test/good"), str(parts / "test/stain")]
    assert main(["score", str(frame_model), *paths, "--json", "--overlay", str(tmp_path)]) == EXIT_DONE
    lines = _lines(capsys)
    assert main(["score", str(frame_model), *paths]) == EXIT_DONE
    text = capsys.readouterr().out.splitlines()[1:]

    keys = [f"{kind}/{number}.png" for kind in ("good", "stain") for number in range(6)]
    assert [line["item"] for line in lines] == keys
    assert [line.split()[-1] for line in text] == keys
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == keys


def test_verdicts_of_two_folders_are_evaluated_by_their_own_truth(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(frame_model), str(parts / "test/good"), str(parts / "test/stain"), "--json"]) == EXIT_DONE
    (tmp_path / "v.jsonl").write_text(capsys.readouterr().out, encoding="utf-8")

    assert main(["evaluate", str(tmp_path / "v.jsonl"), "--data", str(parts), "--json"]) == EXIT_DONE

    figures = json.loads(capsys.readouterr().out)
    assert (figures["n_good"], figures["n_defect"], figures["auroc"]) == (6, 6, 1.0)


def test_an_overlay_folder_that_is_a_file_is_the_users_mistake(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    assert main(["score", str(frame_model), str(parts / "test"), "--overlay", str(tmp_path / "file")]) == EXIT_USER

    assert capsys.readouterr().err.count("\n") == 1
