"""The front door: help, mistakes, missing packages, readers who go away."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.running import andon

from andon.cli import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USER, commands, main
from andon.foundation.extras import remedy

HEAVY = (
    "torch",
    "torchvision",
    "onnx",
    "onnxscript",
    "scipy",
    "sklearn",
    "matplotlib",
    "cv2",
    "pyarrow",
)

_ALL_HELP = f"""
import contextlib, io, json, sys
from andon.cli import commands, main
told = {{}}
for name in ["", *commands()]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = main([*name.split(), "--help"])
    told[name] = [code, text.getvalue(), sorted(set({HEAVY!r}) & set(sys.modules))]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def all_help() -> dict[str, tuple[int, str, list[str]]]:
    """Exit code, text and heavy packages in memory after each --help, all in one fresh interpreter."""
    told = subprocess.run([sys.executable, "-c", _ALL_HELP], capture_output=True, text=True, check=True, timeout=120)
    assert told.stderr == ""
    found: dict[str, tuple[int, str, list[str]]] = json.loads(told.stdout)
    return found


@pytest.mark.parametrize("command", ["", *commands()])
def test_a_help_explains_and_loads_nothing_heavy(command: str, all_help: dict[str, tuple[int, str, list[str]]]) -> None:
    code, text, heavy = all_help[command]

    assert code == EXIT_DONE
    assert text.startswith(f"usage: andon {command}".rstrip())
    assert "example:" in text or command == ""
    assert heavy == []


def test_the_first_help_names_every_command(all_help: dict[str, tuple[int, str, list[str]]]) -> None:
    listed = [line.split()[0] for line in all_help[""][1].splitlines() if line.startswith("    ") and line[4] != " "]

    assert listed == commands()


MISTAKES = [
    (["scroe", "a.onnx"], "unknown command 'scroe' (did you mean 'score'?)"),
    (["--versoin"], "unknown argument '--versoin' (did you mean '--version'?)"),
    (["inspect", "a.onnx", "--jsn"], "unknown argument '--jsn' (did you mean '--json'?)"),
    (["score", "a.onnx", "b", "--overlya=c"], "unknown argument '--overlya=c' (did you mean '--overlay'?)"),
    (["evaluate", "a.onnx", "--dta", "b"], "unknown argument '--dta' (did you mean '--data'?)"),
    (["inspect", "a.onnx", "-q"], "unknown argument '-q'"),
    (["inspect"], "the following arguments are required: FILE.onnx. See 'andon inspect --help'."),
    (["bench", "a.onnx", "--seconds", "long"], "argument --seconds: invalid float value: 'long'"),
    (["bench", "a.onnx", "--device", "gpu"], "argument --device: invalid choice: 'gpu'"),
    (["bench", "a.onnx", "--frame", "10"], "--frame: expected HEIGHTxWIDTH"),
    (["train", "windw_vae", "--data", "a", "--out", "b", "--epochs", "3"], "(did you mean 'window_vae'?)"),
    (["train", "windw_vae", "--help"], "(did you mean 'window_vae'?)"),
    (["train", "--dta", "a", "--out", "b"], "(did you mean '--data'?)"),
    (["demo", "--seed", "-1"], "argument --seed: expected an integer from 0 to 2147483647, got '-1'"),
    (["demo", "--seed", "one"], "got 'one'"),
    (["train", "--seed", str(2**64)], "argument --seed: expected an integer"),
    (["train", "--threads", "0"], "argument --threads: expected an integer from 1 to 64, got '0'"),
    (
        ["train", "--picture-epochs", "1,last"],
        "argument --picture-epochs: expected all, none, every=N, or a list of epochs",
    ),
    (["train", "--watch-every", "0"], "argument --watch-every: expected an integer from 1"),
    (["inspect", "no-such.onnx"], "no-such.onnx: cannot be read"),
    (
        ["score", "a.onnx", "b", "--threshold", "0.5"],
        "unknown argument '--threshold': the threshold is part of the model file. 'andon export' sets it from --false-reject.",
    ),
    (
        ["compare", "--detectors", "pca", "patchcore", "--preset", "fast", "--data", "a", "--out", "b"],
        (
            "unknown argument '--preset'. See 'andon compare --help'. Put settings of a detector into its quotes: "
            '--detectors "patchcore --preset fast".'
        ),
    ),
    (
        ["compare", "--detectors=patchcore", "--preset=fast", "--data", "a", "--out", "b"],
        'into its quotes: --detectors "patchcore --preset=fast".',
    ),
    (
        ["compare", "--detectors", "pca", "--data", "good.csv", "--test", "labelled/", "--out", "b"],
        (
            "unknown argument '--test'. See 'andon compare --help'. Put settings of a set into its quotes: --data "
            '"good.csv --test labelled/".'
        ),
    ),
    (
        ["compare", "--detectors", "patchcore", "--data", "parts/", "--ignore", "0,0,9,9", "--out", "b"],
        'Put settings of a set into its quotes: --data "parts/ --ignore 0,0,9,9".',
    ),
    (
        ["compare", "--data", "parts/", "--detectors", "patchcore", "--region=0,0,9,9", "--out", "b"],
        'Masks belong to a data set. Put them into its quotes: --data "parts/ --ignore 100,200,900,700".',
    ),
    (["compare", "--detectors", "pca", "--seed", "3"], "unknown argument '--seed' (did you mean '--seeds'?)"),
    (["compare", "--out", "b", "--preset", "fast"], ". See 'andon compare --help'.\n"),
    (
        ["monitor", "a.onnx", "camera:1", "--fps", "10"],
        "unknown argument '--fps'. See 'andon monitor --help'. The source camera has --reopen-s, ",
    ),
    (["monitor", "--fps", "10", "a.onnx", "-"], "The source stdin has --stale-after-s."),
    (["monitor", "a.onnx", "-", "--help", "--fps=10"], "The source stdin has --stale-after-s."),
    (["monitor", "a.onnx", "mnist:normal=0", "--fps=10"], "The source mnist has no flags."),
    (["monitor", "a.onnx", "camera:1", "--stale", "3"], "(did you mean '--stale-after-s'?)"),
    (["monitor", "a.onnx", "no-such-folder", "--fps=10"], "unknown argument '--fps=10'. See 'andon monitor --help'.\n"),
    (["monitor", "--fps=10"], "unknown argument '--fps=10'. See 'andon monitor --help'.\n"),
    (
        ["score", "a.onnx", "b", "--fps=10"],
        "--frame-size, --gpus-per-worker, --json, --limit-blocks, --maps, --new-plan, --out, --overlay, --provider, --run, ",
    ),
]


@pytest.mark.parametrize(("words", "told"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_line_on_stderr_and_exit_code_two(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(words)

    out, err = capsys.readouterr()
    assert (code, out) == (EXIT_USER, "")
    assert err.startswith("andon: ")
    assert err.count("\n") == 1
    assert told in err


@pytest.mark.parametrize("command", commands())
def test_no_flag_is_suggested_only_because_both_begin_with_dashes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--zzz-xq"]) == EXIT_USER

    assert "did you mean" not in capsys.readouterr().err


def test_a_message_of_several_lines_is_told_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "no\nsuch.onnx"]) == EXIT_USER

    assert capsys.readouterr().err == "andon: no\\nsuch.onnx: cannot be read: No such file or directory.\n"


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "no-such.onnx", "--verbose"],
        ["inspect", "-v", "no-such.onnx"],
        ["-v", "inspect", "no-such.onnx"],
        ["--verbose", "inspect", "no-such.onnx"],
    ],
    ids=" ".join,
)
def test_telling_more_is_of_andon_alone_before_or_after_the_command(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: dict[str, list[int]] = {"andon": [], "onnxscript": []}
    for name, seen in levels.items():
        monkeypatch.setattr(logging.getLogger(name), "setLevel", seen.append)
    main(words)
    assert "no-such.onnx: cannot be read" in capsys.readouterr().err
    assert levels == {"andon": [logging.DEBUG, logging.NOTSET], "onnxscript": []}  # while it runs, and afterwards

    main(["inspect", "no-such.onnx"])
    assert levels["andon"][2:] == [logging.NOTSET, logging.NOTSET]


def test_nothing_at_all_is_answered_with_the_help_and_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == EXIT_USER

    assert capsys.readouterr().out.startswith("usage: andon")


def test_the_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert main(["--version"]) == EXIT_DONE

    assert capsys.readouterr().out == f"andon {version('andon')}\n"


def test_a_setting_is_named_by_its_nearest_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "window_vae", "--data", "a", "--out", "b", "--epoch", "3"]) == EXIT_USER

    assert "unknown argument '--epoch' (did you mean '--epochs'?)" in capsys.readouterr().err


def test_a_data_folder_may_be_called_like_a_detector(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", "unet_autoencoder", "--out", "b", "window_vae", "--latent", "many"]) == EXIT_USER

    assert "--latent" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(frame_model: Path, parts: Path) -> None:
    broken = "import andon.sources.opening as o; o.open_for = None"

    told = andon("score", frame_model, parts, before=broken)

    assert told.returncode == 1
    assert "Traceback" in told.stderr
    assert "TypeError" in told.stderr


def test_a_reader_who_goes_away_is_no_error(frame_model: Path, parts: Path) -> None:
    command = [sys.executable, "-m", "andon", "score", str(frame_model), *[str(parts)] * 3, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()  # before a line was written, as | head -0 does
        err = running.stderr.read()

    assert (running.returncode, err) == (EXIT_DONE, b"")


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize(
    "words", [["inspect", "MODEL"], ["score", "MODEL", "PARTS"], ["score", "MODEL", "PARTS", "--json"]]
)
def test_a_full_disk_behind_standard_output_is_one_line_and_exit_code_two(
    words: list[str], frame_model: Path, parts: Path
) -> None:
    stand_for = {"MODEL": str(frame_model), "PARTS": str(parts)}
    with FULL.open("w") as full:  # a device that refuses every byte
        ended = subprocess.run(
            [sys.executable, "-m", "andon", *(stand_for.get(word, word) for word in words)],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert ended.returncode == EXIT_USER
    assert ended.stderr == (
        "andon: standard output: cannot be written: No space left on device. Redirect it elsewhere.\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="closes descriptors before the program starts")
@pytest.mark.parametrize("words", [["inspect", "MODEL"], ["score", "MODEL", "PARTS", "--json"]])
def test_a_closed_standard_output_is_one_line_and_exit_code_two(
    words: list[str], frame_model: Path, parts: Path
) -> None:
    stand_for = {"MODEL": str(frame_model), "PARTS": str(parts)}
    ended = _without(1, *(stand_for.get(word, word) for word in words))

    assert ended.returncode == EXIT_USER
    assert ended.stderr.startswith("andon: standard output: expected an open stream, got a closed one.")
    assert ended.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="closes descriptors before the program starts")
def test_a_closed_standard_error_stops_nothing(frame_model: Path, parts: Path) -> None:
    ended = _without(2, "score", str(frame_model), str(parts / "test"), "--json")

    assert ended.returncode == EXIT_DONE
    assert len(ended.stdout.splitlines()) == 12


def _without(descriptor: int, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process that begins with this descriptor closed."""
    shell = f'exec "$@" {descriptor}>&-'
    return subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, "-m", "andon", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("package", ["numpy", "onnxruntime", "msgspec"])
def test_an_interrupt_while_packages_load_is_exit_code_130(package: str, frame_model: Path) -> None:
    # the finder stands for a user whose Ctrl-C hits this very import, and for numpy, which makes an ImportError of it
    before = f"""
import os, signal
class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == {package!r}:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                for _ in range(1000): pass
            except KeyboardInterrupt:
                raise ImportError("Error importing numpy") from None
sys.meta_path.insert(0, AtImport())
"""
    ended = andon("inspect", frame_model, before=before)

    assert (ended.returncode, ended.stdout, ended.stderr) == (EXIT_INTERRUPTED, "", "andon: interrupted\n")


def test_importing_the_command_line_loads_neither_numpy_nor_onnxruntime() -> None:
    probe = "import sys, andon.cli; print(sorted({'numpy', 'onnxruntime', 'msgspec'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)

    assert told.stdout == "[]\n"


def test_a_warning_with_a_forged_name_is_one_line_without_terminal_commands(frame_model: Path, parts: Path) -> None:
    before = """
import andon.cli.inspect as command, logging
command.run = lambda args: logging.getLogger("andon.x").warning("%s: odd", "a\\nandon: all is well\\x1b[2J") or 0
"""
    told = andon("inspect", frame_model, before=before)

    assert told.stderr == "andon: a\\nandon: all is well\\x1b[2J: odd\n"


def test_an_error_with_a_forged_name_has_no_terminal_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "no\x1b[2J\u202esuch.onnx"]) == EXIT_USER

    assert "\x1b" not in (err := capsys.readouterr().err)
    assert "\u202e" not in err
    assert "no\\x1b[2J" in err


MISSING = [
    (["demo"], {"torch"}, f"the demo needs torch: {remedy('train')}"),
    (["train", "window_vae", "--help"], {"torch"}, f"training window_vae needs torch: {remedy('train')}"),
    (["train", "window_vae", "--data", "a", "--out", "b"], {"torch"}, remedy("train")),
    (["train", "window_vae", "--data", "a", "--out", "b"], {"safetensors"}, "needs safetensors: pip install"),
    (["export", "run", "-o", "a.onnx"], {"torch"}, f"exporting needs torch: {remedy('train')}"),
    (["evaluate", "MODEL", "--data", "PARTS"], {"sklearn"}, f"evaluating needs sklearn: {remedy('evaluate')}"),
    (
        ["recommend", "--data", "a", "--budget-ms", "9", "--out", "b"],
        {"torch"},
        f"recommending needs torch: {remedy('train')}",
    ),
    (["compare", "--out", "a", "--table"], {"torch"}, f"comparing needs torch: {remedy('train')}"),
    (["sample", "run", "-o", "a"], {"torch"}, f"sampling needs torch: {remedy('train')}"),
    (["score", "MODEL", "PARTS"], {"cv2"}, remedy("camera")),
]


@pytest.mark.parametrize(
    ("words", "hidden", "line"), MISSING, ids=[f"{' '.join(w)} without {h}" for w, h, _ in MISSING]
)
def test_a_missing_package_is_one_line_that_names_its_extra(
    words: list[str], hidden: set[str], line: str, frame_model: Path, parts: Path
) -> None:
    stand_for = {"MODEL": str(frame_model), "PARTS": str(parts)}

    told = andon(*(stand_for.get(word, word) for word in words), hidden=sorted(hidden))

    assert told.returncode == EXIT_USER
    assert told.stderr.startswith("andon: ")
    assert told.stderr.count("\n") == 1
    assert line in told.stderr


def test_the_base_install_inspects_and_scores_logs(frame_model: Path, window_model: Path, log: Path) -> None:
    inspected = andon("inspect", frame_model, hidden=HEAVY)
    scored = andon("score", window_model, log, "--json", hidden=HEAVY)

    assert (inspected.returncode, inspected.stderr) == (EXIT_DONE, "")
    assert (scored.returncode, scored.stderr) == (EXIT_DONE, "")
    assert len(scored.stdout.splitlines()) == 20


def test_a_host_that_calls_it_finds_its_surroundings_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    told = logging.getLogger("andon")
    before = told.level
    told.setLevel(logging.ERROR)
    try:
        assert main(["inspect", "nowhere.onnx", "-v"]) == EXIT_USER
        assert told.level == logging.ERROR
        assert "OMP_WAIT_POLICY" not in os.environ
    finally:
        told.setLevel(before)
