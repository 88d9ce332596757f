"""The monitor's command line: its sinks by name, and what it refuses before anything starts."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import write_picture
from tests.cli.running import andon
from tests.foundation.plug_ins import install
from tests.runtime.hand_made import frame

from andon.cli import EXIT_DONE, EXIT_USER, main

THEIR_SINK = """
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from andon.monitor.sink import SinkKind


class Settings(Struct, frozen=True, kw_only=True):
    path: Annotated[str, Meta(description="the table")]
    separator: Annotated[str, Meta(description="between cells")] = ";"


class Table:
    lost = 0

    def __init__(self, settings, context):
        self._file = Path(settings.path).open("w", encoding="utf-8")
        self._separator = settings.separator
        self._file.write(f"{context.card.name} {context.can_wait} {context.source}\\n")
        self._rows = 0

    @property
    def summary(self):
        return f"{self._rows} rows"

    def put(self, outcome):
        self._rows += 1
        self._file.write(f"{outcome.seq}{self._separator}{outcome.ref.key}{self._separator}{outcome.verdict.status.name}\\n")

    def close(self):
        self._file.close()


SINK = SinkKind(name="table", summary="a table of verdicts", settings=Settings, open=Table)
"""


@pytest.fixture
def their_package(tmp_path: Path) -> str:
    """Install a package with the sink `table`, and return the Python code that makes it importable."""
    folder = tmp_path / "site"
    install(folder, "their_sinks", "andon.sinks", "table = their_sinks:SINK", THEIR_SINK)
    return f"sys.path.insert(0, {str(folder)!r})"


def test_a_sink_of_another_package_takes_every_verdict(
    frame_model: Path, parts: Path, tmp_path: Path, their_package: str
) -> None:
    table, folder = tmp_path / "verdicts, all.csv", parts / "test"
    sink = f"table:path={table},separator=,"
    ended = andon("monitor", frame_model, folder, "--no-follow", "--sink", sink, before=their_package)

    assert (ended.returncode, ended.stdout) == (EXIT_DONE, ""), ended.stderr
    head, *rows = table.read_text(encoding="utf-8").splitlines()
    assert head == f"hand made True {folder}"
    assert [row.split(",")[0] for row in rows] == [str(number) for number in range(1, 13)]
    assert {row.rpartition(",")[2] for row in rows if "good/" in row} == {"OK"}
    assert {row.rpartition(",")[2] for row in rows if "stain/" in row} == {"REJECT"}
    assert "12 rows" in ended.stderr


def test_a_sink_of_another_package_that_cannot_be_opened_is_one_line_and_nothing_starts(
    frame_model: Path, parts: Path, tmp_path: Path, their_package: str
) -> None:
    words = ("monitor", frame_model, parts / "test", "--no-follow", "--sink", f"table:path={tmp_path / 'no' / 'a.csv'}")
    ended = andon(*words, before=their_package)

    assert (ended.returncode, ended.stdout) == (EXIT_USER, "")
    assert ended.stderr.startswith("andon: the sink table: cannot be opened: FileNotFoundError: ")
    assert ended.stderr.count("\n") == 1


def test_the_help_lists_a_sink_of_another_package_with_its_keys(their_package: str) -> None:
    ended = andon("monitor", "--help", before=their_package)

    assert ended.returncode == EXIT_DONE
    assert "table: a table of verdicts\n" in ended.stdout
    assert "path           the table (required)\n" in ended.stdout
    assert "separator      between cells (default: ;)\n" in ended.stdout
    assert "json_lines: write one JSON line for each verdict" in ended.stdout


def test_a_broken_sink_is_one_warning_unless_it_is_named(frame_model: Path, parts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    install(folder, "broken_sinks", "andon.sinks", "odd = broken_sinks:SINK", "import no_such_package_of_theirs\n")
    before, words = f"sys.path.insert(0, {str(folder)!r})", ("monitor", frame_model, parts / "test", "--no-follow")
    skipped = andon(*words, "--out", tmp_path / "v.jsonl", before=before)
    named = andon(*words, "--sink", "odd", "--out", tmp_path / "none.jsonl", before=before)

    reported = "andon: the sink 'odd' of the package 'broken-sinks' cannot be loaded from 'broken_sinks:SINK': "
    assert skipped.returncode == EXIT_DONE
    assert skipped.stderr.count(reported) == 1
    assert len((tmp_path / "v.jsonl").read_text(encoding="utf-8").splitlines()) == 12
    assert named.returncode == EXIT_USER
    assert "ModuleNotFoundError: No module named 'no_such_package_of_theirs'" in named.stderr.splitlines()[-1]
    assert not (tmp_path / "none.jsonl").exists()


def test_several_sinks_of_one_kind_get_the_same_lines_and_out_is_one_more(
    frame_model: Path, parts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"{name}.jsonl" for name in "abc"]
    sinks = [word for path in files[:2] for word in ("--sink", f"json_lines:path={path}")]
    words = ["monitor", str(frame_model), str(parts / "test"), "--no-follow", *sinks, "--out", str(files[2])]

    assert main(words) == EXIT_DONE
    assert capfd.readouterr().out == ""
    first, *others = [path.read_bytes() for path in files]
    assert len(first.splitlines()) == 12
    assert all(other == first for other in others)


def test_the_short_form_and_the_sink_keep_the_same_pictures(frame_model: Path, parts: Path, tmp_path: Path) -> None:
    line = ["monitor", str(frame_model), str(parts / "test"), "--no-follow", "--out"]
    short = ["--pictures", str(tmp_path / "a"), "--max-pictures", "2"]
    long = ["--sink", f"pictures:folder={tmp_path / 'b'},max_pictures=2"]

    assert main([*line, str(tmp_path / "a.jsonl"), *short]) == EXIT_DONE
    assert main([*line, str(tmp_path / "b.jsonl"), *long]) == EXIT_DONE
    names = [sorted(path.name.partition("-")[2] for path in (tmp_path / kept).iterdir()) for kept in "ab"]
    assert names[0] == names[1]
    assert len(names[0]) == 2


def test_an_alarm_is_raised_and_cleared_on_the_lines_of_its_items_and_counted_at_the_end(
    frame_model: Path, parts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["monitor", str(frame_model), str(parts / "test"), "--no-follow", "--alarm", "2/3"]

    assert main([*words, "--out", str(tmp_path / "v.jsonl")]) == EXIT_DONE
    lines = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["item"], line["alarms"]) for line in lines if "alarms" in line] == [
        ("stain/1.png", [{"name": "rejects", "event": "raised", "number": 1}])
    ]
    assert "; alarms (rejects): 1, the last one is active\n" in capfd.readouterr().err
    # a second run continues the file, so that a line with an alarm is known as a line of this sink
    assert main([*words, "--out", str(tmp_path / "v.jsonl")]) == EXIT_DONE


def test_with_health_a_black_frame_is_invalid_before_judging_and_without_it_the_model_file_decides(
    frame_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "parts"
    write_picture(folder / "dark.png", frame(1) // 16)
    write_picture(folder / "good.png", frame(2))
    words = ["monitor", str(frame_model), str(folder), "--no-follow"]

    assert main([*words, "--health"]) == EXIT_DONE
    checked = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert main(words) == EXIT_DONE
    plain = [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    assert [(line["item"], line["status"], line["reason"]) for line in checked] == [
        ("dark.png", "INVALID", "black"),
        ("good.png", "OK", ""),
    ]
    assert checked[0]["detail"].startswith("black: nearly no light: 99 % of the pixels have a level of at most ")
    assert plain[0]["reason"] != "black"
    assert plain[1] == checked[1] | {"at": plain[1]["at"]}


def test_with_health_a_channel_out_of_its_range_is_invalid_and_the_line_names_it(
    window_model: Path, log: Path, tmp_path: Path
) -> None:
    rows = [row.split(",") for row in log.read_text(encoding="utf-8").splitlines()]
    for row in rows[len(rows) // 2 :]:
        row[rows[0].index("pressure")] = "1e6"
    (tmp_path / "bad.csv").write_text("\n".join(",".join(row) for row in rows) + "\n", encoding="utf-8")
    out = tmp_path / "v.jsonl"

    assert main(["monitor", str(window_model), str(tmp_path / "bad.csv"), "--health", "--out", str(out)]) == EXIT_DONE
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    last = lines[-1]
    assert (last["status"], last["reason"], last["channel"]) == ("INVALID", "out_of_range", "pressure")
    assert last["detail"].startswith("pressure: out of range: 1e+06 bar (limits -6 and 6 bar)")
    # the alarm about health counts these windows
    assert [alarm["name"] for line in lines for alarm in line.get("alarms", [])] == ["health"]


@pytest.fixture
def watching(frame_model: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the arguments that monitor a folder, from an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return ["monitor", str(frame_model), str(parts)]


REFUSED = [
    (["--sink", "jsonlines"], "there is no sink 'jsonlines' (did you mean 'json_lines'?)."),
    (["--sink", "pictures"], "the sink pictures: expected folder, got nothing."),
    (["--sink", "pictures:rejects"], "the sink pictures: expected key=value, got 'rejects'."),
    (
        ["--sink", "pictures:folder=x,max_picture=3"],
        "unknown setting 'max_picture' (did you mean 'max_pictures'?).",
    ),
    (
        ["--sink", "pictures:folder=x,max_pictures=0"],
        "the sink pictures: max_pictures: expected an integer >= 1, got '0'.",
    ),
    (["--max-pictures", "3"], "--max-pictures: expected --pictures DIR too, got none."),
    (
        ["--pictures", "x", "--max-pictures", "0"],
        "the sink pictures: max_pictures: expected an integer >= 1, got 0.",
    ),
    (
        ["--speed", "max"],
        "--speed: expected a flag of the source images, which has --follow, --settle-s, --poll-s, --stale-after-s",
    ),
    (["--open-timeout-s", "3"], "got a flag of basler, camera and genicam. Leave it out"),
    (["--alarm", "3"], "alarm: expected K/N with 1 <= K <= N <= 10000, got '3'. Example: 3/5."),
    (["--alarm", "4/3"], "alarm: expected 1 <= k <= n <= 10000, got k = 4, n = 3. Example: 3/5."),
]


@pytest.mark.parametrize(("words", "why"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_a_mistake_is_one_line_before_anything_starts(
    words: list[str], why: str, watching: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*watching, *words]) == EXIT_USER

    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert why in err
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("words", [["--settle-s", "1"], ["--warm-frames", "1"]], ids=" ".join)
def test_a_log_has_no_flags_of_a_folder_or_a_camera(
    words: list[str], window_model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", str(window_model), str(log), *words]) == EXIT_USER

    assert (
        f"{words[0]}: expected a flag of the source logs, which has --speed, --follow, --poll-s, --stale-after-s; got a flag"
        in capsys.readouterr().err
    )


def test_a_log_is_replayed_with_its_own_flag(window_model: Path, log: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"

    assert main(["monitor", str(window_model), str(log), "--speed", "max", "--out", str(out)]) == EXIT_DONE
    units = {json.loads(line)["unit"] for line in out.read_text(encoding="utf-8").splitlines()}
    assert units == {"window"}


def test_the_frame_size_of_a_model_of_windows_is_refused(
    window_model: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", str(window_model), str(log), "--frame-size", "any"]) == EXIT_USER

    assert "--frame-size: expected a model file for frames" in capsys.readouterr().err


def test_log_messages_as_json_are_one_object_a_line_without_counters_between_them(
    frame_model: Path, parts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", str(frame_model), str(parts / "test"), "--no-follow", "--log-json"]) == EXIT_DONE

    records = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert all({"at", "level", "logger", "message"} <= set(record) for record in records)
    assert "ended: grabbed 12 = judged 12" in records[-1]["message"]
