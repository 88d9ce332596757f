"""`andon evaluate`: figures for people and for programs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import write_picture
from tests.cli.keys import keys_of
from tests.runtime.hand_made import frame

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


def test_a_class_set_tells_its_own_truth(
    frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["evaluate", str(frame_model), "--data", f"classes:{parts / 'test'},normal=good", "--report", str(tmp_path)]
    assert main([*words, "--json"]) == EXIT_DONE

    figures = json.loads(capsys.readouterr().out)
    assert (figures["n_good"], figures["n_defect"], figures["auroc"]) == (2, 2, 1.0)
    assert list(figures["by_defect"]) == ["stain"]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "classes:test,normal=good" in page
    assert str(parts) not in page


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
    assert "false rejects  0.00% [0.00%, 45.93%]   0 of 6 good" in out
    assert "AUROC          1.0000\n" in out  # an interval of one point is not printed
    assert "(recall 0.99)" in out
    assert out.splitlines()[-1].split() == ["stain", "6", "1.0000", "0.0%"]
    assert "deviation               1.0000  1.0000  decides\npeak                    1.0000  1.0000\n" in out


@pytest.mark.parametrize("kind", ["good", "stain"])
def test_people_read_what_one_kind_of_parts_alone_shows(
    kind: str, frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("train/good", f"test/{kind}"):
        shutil.copytree(parts / folder, tmp_path / "tree" / folder)
    words = ["evaluate", str(frame_model), "--data", str(tmp_path / "tree"), "--report", str(tmp_path / "pages")]

    assert main(words) == EXIT_DONE

    out = capsys.readouterr().out
    assert f"{6 * (kind == 'good')} good, {6 * (kind == 'stain')} defective, 0 INVALID" in out
    assert ("as promised" in out, "6 of 6 good" in out) == (kind == "good", False)
    assert ("misses         0.00%" in out) is (kind == "stain")
    named, other = ("good", "defective") if kind == "good" else ("defective", "good")
    assert f"{named} parts only: AUROC and similar results also need {other} ones" in out
    assert "\nAUROC" not in out
    page = (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")
    assert f"There are {named} parts only" in page


def test_people_read_faults_caught_beside_the_dummy(
    window_model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(window_model), "--data", str(log)]) == EXIT_DONE

    head, first, total, promise, empty, *over_time = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["file", "good", "faulty"]
    assert first.split()[0] == "pump.csv"
    assert "1/1" in total
    assert "rejecting at random" in promise
    assert not empty
    assert over_time[0].split() == ["faults", "caught", "100.00%"]
    assert "0 in 0.00944 h of good operation; alarms closer than 4 s are one" in over_time[1]
    assert "buffers of 0 to 4 rows" in over_time[3]


def test_logs_are_counted_with_the_buffer_and_the_refractory_time_asked_for(
    window_model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--vus-buffer", "9", "--refractory-s", "60", "--no-intervals", "--json"]
    assert main(["evaluate", str(window_model), "--data", str(log), *told]) == EXIT_DONE

    figures = json.loads(capsys.readouterr().out)
    assert (figures["vus_buffer"], figures["refractory_s"], figures["intervals"]) == (9, 60.0, None)


def test_several_files_have_intervals(
    window_model: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(log.read_bytes())
    assert main(["evaluate", str(window_model), "--data", str(tmp_path), "--json"]) == EXIT_DONE

    figures = json.loads(capsys.readouterr().out)
    assert figures["intervals"]["files"] == 2
    # resampling cannot show uncertainty if both faults are caught: the exact interval of two of two
    assert figures["intervals"]["event_recall"] == {"low": pytest.approx(0.1581, abs=1e-4), "high": 1.0}


def test_verdicts_that_score_wrote_give_the_figures_of_judging_again(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(frame_model), str(parts / "test"), "--json"]) == EXIT_DONE
    written = tmp_path / "verdicts.jsonl"
    written.write_text(capsys.readouterr().out, encoding="utf-8")
    table = tmp_path / "truth.csv"
    keys = [(f"{kind}/{number}.png", kind) for kind in ("good", "stain") for number in range(5)]
    table.write_text("key,label\n" + "".join(f"{key},{kind == 'stain':d}\n" for key, kind in keys), encoding="utf-8")
    assert main(["evaluate", str(frame_model), "--data", str(parts / "test"), "--truth", str(table), "--json"]) == 0
    direct = json.loads(capsys.readouterr().out)

    assert main(["evaluate", str(written), "--truth", str(table), "--json"]) == EXIT_DONE
    found = json.loads(capsys.readouterr().out)

    assert found | {"promise": "", "within_promise": None} == found
    # what was written down holds the deciding score alone, and no map
    for name in ("pixel_auroc", "aupro"):
        direct["intervals"][name] = direct[name] = None
    assert found == direct | {"promise": "", "within_promise": None, "by_score": {}, "mask_step": None}
    assert main(["evaluate", str(written), "--truth", str(table)]) == EXIT_DONE
    out = capsys.readouterr().out
    assert "5 good, 5 defective, 0 INVALID, 2 without a known truth" in out
    assert "promise" not in out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--recall", "1.5"], "--recall: expected a share above 0 and at most 1, got 1.5"),
        (["--refractory-s", "-1"], "--refractory-s: expected at least 0 seconds, got -1"),
        (["--refractory-s", "5"], "--refractory-s has an effect only with logs"),
        (["--vus-buffer", "5"], "--vus-buffer has an effect only with logs"),
        (["--model", "abc"], "--model has an effect only with logs of verdicts"),
        (["--seed", "-1"], "integer from 0"),
    ],
)
def test_a_flag_that_cannot_be_meant_is_refused(
    flags: list[str], told: str, frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(frame_model), "--data", str(parts), *flags]) == EXIT_USER

    assert told in capsys.readouterr().err


def test_a_model_without_data_and_verdicts_without_a_truth_are_refused(
    frame_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(frame_model)]) == EXIT_USER
    assert "expected parts to judge, got none. Give --data PATH" in capsys.readouterr().err

    assert main(["evaluate", str(tmp_path / "verdicts.jsonl")]) == EXIT_USER
    assert "--truth TABLE.csv" in capsys.readouterr().err


def test_labels_may_come_from_a_table(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "truth.csv"
    table.write_text("key,label,kind\ngood/0.png,good,\nstain/1.png,bad,oil\n", encoding="utf-8")

    code = main(["evaluate", str(frame_model), "--data", str(parts / "test"), "--truth", str(table), "--json"])

    figures = json.loads(capsys.readouterr().out)
    assert (code, figures["n_good"], figures["n_defect"], list(figures["by_defect"])) == (EXIT_DONE, 1, 1, ["oil"])


def test_a_table_of_labels_for_a_log_is_refused_rather_than_ignored(
    window_model: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("key,label\na,good\n", encoding="utf-8")
    words = ["evaluate", str(window_model), "--data", str(log), "--truth", str(tmp_path / "t.csv")]
    assert main(words) == EXIT_USER

    assert "expected a table of intervals for logs, with the columns start,end" in capsys.readouterr().err


def test_the_truth_of_a_log_may_come_from_a_table_of_intervals_and_rows_may_be_sorted(
    window_model: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = log.read_text(encoding="utf-8").splitlines()
    times = [row.partition(",")[0] for row in rows if row.endswith(",1")]
    bare = [head.removesuffix(",anomaly"), *(row.rpartition(",")[0] for row in reversed(rows))]
    (tmp_path / "pump.csv").write_text("\n".join(bare) + "\n", encoding="utf-8")
    (tmp_path / "truth.csv").write_text(f"start,end,kind\n{times[0]},{times[-1]},leak\n", encoding="utf-8")
    words = ["--data", str(tmp_path / "pump.csv"), "--truth", str(tmp_path / "truth.csv"), "--json"]

    assert main(["evaluate", str(window_model), *words]) == EXIT_USER
    assert "give --sort" in capsys.readouterr().err
    assert main(["evaluate", str(window_model), *words, "--sort"]) == EXIT_DONE
    by_table = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(window_model), "--data", str(log), "--json"]) == EXIT_DONE
    by_column = json.loads(capsys.readouterr().out)
    assert by_table["total"] == by_column["total"]


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
    assert str(parts.parent) not in page  # the report must not show the folders of this machine


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

    assert "or an earlier report, got other files" in capsys.readouterr().err


def test_verdicts_that_were_written_down_give_a_report_without_pictures_of_parts(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(frame_model), str(parts / "test"), "--json"]) == EXIT_DONE
    written = tmp_path / "verdicts.jsonl"
    written.write_text(capsys.readouterr().out, encoding="utf-8")
    pages = tmp_path / "pages"

    words = [
        "evaluate",
        str(written),
        "--data",
        str(parts / "test"),
        "--no-intervals",
        "--json",
        "--report",
        str(pages),
    ]
    assert main(words) == EXIT_DONE

    assert json.loads(capsys.readouterr().out)["n_defect"] == 6
    assert "it has no pictures of parts" in (pages / "index.html").read_text(encoding="utf-8")
    assert sorted(path.stem for path in pages.glob("*.png")) == [
        "confusion",
        "figures",
        "histogram",
        "mean-scores",
        "precision-recall",
        "recall",
        "roc",
    ]


def test_without_labelled_defects_synthetic_ones_are_drawn_onto_good_parts(
    frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(frame_model), "--data", str(parts), "--synthetic", "--json"]) == EXIT_DONE

    figures = json.loads(capsys.readouterr().out)
    assert figures["n_good"] == 6  # those of the test set; training parts are not used
    assert figures["n_defect"] + figures["invalid"] == 12
    assert "stain" not in figures["by_defect"]
    assert figures["aupro"] is not None


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--run", "run/"], "--run has an effect only with --synthetic"),
        (["--synthetic", "--truth", "t.csv"], "--synthetic creates its own labels"),
    ],
)
def test_flags_that_contradict_synthetic_are_refused(
    words: list[str], refusal: str, frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(frame_model), "--data", str(parts), *words]) == EXIT_USER

    assert refusal in capsys.readouterr().err


def test_frames_of_one_part_are_grouped_as_train_groups_them(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = ["--group", r"(?P<part>(?:good|stain)/)", "--no-intervals"]  # all frames of a folder show one part
    assert main(["evaluate", str(frame_model), "--data", str(parts), *rule]) == EXIT_DONE
    assert "1 good, 1 defective, 0 INVALID, each judged by its worst frame (12 frames)" in capsys.readouterr().out

    assert main(["score", str(frame_model), str(parts / "test"), "--json"]) == EXIT_DONE
    written = tmp_path / "verdicts.jsonl"
    written.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["evaluate", str(written), "--data", str(parts / "test"), *rule, "--json"]) == EXIT_DONE
    figures = json.loads(capsys.readouterr().out)
    assert (figures["n_good"], figures["n_defect"], figures["frames"]) == (1, 1, 12)


def test_grouping_what_has_no_parts_is_refused(
    window_model: Path, log: Path, frame_model: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(window_model), "--data", str(log), "--group", "(x)"]) == EXIT_USER
    assert "--group has an effect only with pictures" in capsys.readouterr().err
    assert main(["evaluate", str(frame_model), "--data", str(parts), "--synthetic", "--group", "(x)"]) == EXIT_USER
    assert "--synthetic damages single frames" in capsys.readouterr().err


def test_verdicts_on_the_test_folder_meet_the_truth_of_the_tree(
    frame_model: Path,
    parts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert main(["score", str(frame_model), str(parts / "test"), "--json"]) == EXIT_DONE
    written = tmp_path / "verdicts.jsonl"
    written.write_text(capsys.readouterr().out, encoding="utf-8")

    assert main(["evaluate", str(written), "--data", str(parts), "--no-intervals", "--json"]) == EXIT_DONE

    figures = json.loads(capsys.readouterr().out)
    assert (figures["n_good"], figures["n_defect"], figures["unknown"], figures["unjudged"]) == (6, 6, 0, 0)
    assert "12 of 12 items were found in the truth as test/ITEM" in caplog.text


def test_verdicts_on_windows_are_counted_as_windows_and_say_what_they_cannot_tell(
    window_model: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(window_model), str(log), "--json"]) == EXIT_DONE
    written = tmp_path / "verdicts.jsonl"
    written.write_text(capsys.readouterr().out, encoding="utf-8")
    lines = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    table = tmp_path / "truth.csv"
    labels = [f"{one['item']},{one['status'] == 'REJECT':d}\n" for one in lines]
    table.write_text("key,label\n" + "".join(labels), encoding="utf-8")

    words = ["evaluate", str(written), "--truth", str(table), "--report", str(tmp_path / "page")]
    assert main(words) == EXIT_DONE
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("windows        ")
    assert "for faults caught, delays and false events, evaluate the log" in second
    page = (tmp_path / "page/index.html").read_text(encoding="utf-8")
    assert "good windows rejected" in page
    assert "good parts" not in page
    assert main(["evaluate", str(written), "--data", str(log)]) == EXIT_USER
    assert f"andon evaluate FILE.onnx --data {log}" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--device", "cpu"], ["--frame-size", "any"]])
def test_flags_of_judging_are_refused_where_verdicts_were_written_down(
    flag: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path / "v.jsonl"), "--truth", "t.csv", *flag]) == EXIT_USER

    assert f"{flag[0]} has an effect only with model files" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--recall", "0.9"], ["--frame-size", "any"]])
def test_flags_of_pictures_are_refused_for_logs(
    flag: list[str], window_model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(window_model), "--data", str(log), *flag]) == EXIT_USER

    assert f"{flag[0]} has an effect only with pictures" in capsys.readouterr().err


def test_the_report_of_a_log_tells_every_figure_that_the_command_prints(
    window_model: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(window_model), "--data", str(log), "--report", str(tmp_path)]) == EXIT_DONE

    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    rows = ("faults caught", "false events a day", "median delay, s", "VUS-PR", "F1 of rows", "good rows alarmed")
    for named in (*rows, "faulty rows missed"):
        assert named in printed
        assert f"<bdi>{named}</bdi>" in page
    assert "an alarm at every row gives" in page


def test_long_names_of_types_leave_the_columns_under_each_other(
    frame_model: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "truth.csv"
    kinds = ["type10", "type2", "a type of defect with a long name"]
    rows = [f"stain/{number}.png,bad,{kind}\n" for number, kind in enumerate(kinds)]
    table.write_text("key,label,kind\ngood/0.png,good,\n" + "".join(rows), encoding="utf-8")

    assert main(["evaluate", str(frame_model), "--data", str(parts / "test"), "--truth", str(table)]) == EXIT_DONE

    listed = capsys.readouterr().out.splitlines()[-4:]
    assert len({len(line) for line in listed}) == 1
    assert [line.split()[0] for line in listed] == ["type", "a", "type2", "type10"]


def test_names_of_types_and_logs_forge_no_line_and_stay_exact_in_json(
    frame_model: Path, window_model: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, name = "oil\n\x1b[2Jfalse rejects  0.00%", "pump\n\x1b[1A0 rejects.csv"
    write_picture(tmp_path / "test/good/0.png", frame(1))
    write_picture(tmp_path / "test/oil/0.png", frame(2, level=220))
    (tmp_path / "test/oil").rename(tmp_path / "test" / kind)
    (tmp_path / name).write_bytes(log.read_bytes())

    assert main(["evaluate", str(frame_model), "--data", str(tmp_path)]) == EXIT_DONE
    of_frames = capsys.readouterr().out
    assert main(["evaluate", str(window_model), "--data", str(tmp_path / name)]) == EXIT_DONE
    of_logs = capsys.readouterr().out
    assert main(["evaluate", str(frame_model), "--data", str(tmp_path), "--json"]) == EXIT_DONE
    as_json = json.loads(capsys.readouterr().out)

    for out in (of_frames, of_logs):
        assert all(character.isprintable() or character == "\n" for character in out)
    assert "oil\\n\\x1b[2Jfalse rejects" in of_frames
    assert "pump\\n\\x1b[1A0 rejects" in of_logs
    assert list(as_json["by_defect"]) == [kind]
