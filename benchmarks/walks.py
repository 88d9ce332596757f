"""Count the modules that a reader passes through to follow one piece of work.

The script runs four pieces of work on small simulated data. It records in which order they first enter functions of andon, and
prints one JSON line for each: modules, returns, functions, and the packages in the order of the walk. A return is an entry into
a module that the walk had left before. The figures do not depend on the machine. `--order` also prints the modules one by one.
`--svg FILE` draws the walks.

    python -m benchmarks.walks
    python -m benchmarks.walks --order
    python -m benchmarks.walks --svg docs/_static/walks.svg
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

ROWS = 20_000


def walk(work: Callable[[], None]) -> list[str]:
    """Return the module of each andon function that `work` enters, in the order of first entry."""
    entered: list[str] = []
    seen: set[CodeType] = set()

    def profile(frame: FrameType, event: str, _argument: Any) -> None:
        code, module = frame.f_code, str(frame.f_globals.get("__name__", ""))
        # names in angle brackets are modules during import, lambdas and comprehensions
        if event != "call" or not module.startswith("andon.") or code.co_name.startswith("<") or code in seen:
            return
        seen.add(code)
        entered.append(module.removeprefix("andon."))

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return entered


def figures(name: str, entered: Sequence[str]) -> dict[str, object]:
    """Summarise a walk: ``[a, a, b, a]`` has two modules, one return and four functions."""
    stations = [entered[0], *(after for before, after in pairwise(entered) if after != before)]
    modules = list(dict.fromkeys(stations))
    packages = [module.split(".")[0] for module in stations]
    return {
        "walk": name,
        "modules": len(modules),
        "returns": len(stations) - len(modules),
        "functions": len(entered),
        "packages": list(dict.fromkeys(packages)),
        "order": modules,
    }


LANES = ("cli", "training", "export", "evaluation", "calibration", "sources", "runtime", "foundation")
"""Packages from left to right, in the order of imports."""
_LANE, _ROW, _LEFT, _TOP = 108, 92, 190, 58


def drawing(orders: dict[str, list[str]]) -> str:
    """Return an SVG: one row for each walk, one column for each package, and the number of modules entered in it.

    The small numbers give the order in which the walk first enters the packages. Colours follow the page (`currentColor`).
    """
    width, height = _LEFT + _LANE * len(LANES), _TOP + _ROW * len(orders)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" fill="currentColor" '
        'font-family="system-ui, sans-serif" font-size="14" aria-label="Modules of each package that four walks enter">'
    )
    pieces = [head]
    for place, lane in enumerate(LANES):
        x = _LEFT + _LANE * place + _LANE // 2
        pieces += [
            f'<text x="{x}" y="22" text-anchor="middle" font-weight="600">{lane}</text>',
            f'<line x1="{x}" y1="34" x2="{x}" y2="{height - 8}" stroke="currentColor" stroke-opacity=".15"/>',
        ]
    for row, (title, order) in enumerate(orders.items()):
        y = _TOP + _ROW * row + _ROW // 2
        words = title.split()
        middle = (len(words) + 1) // 2
        for line, part in enumerate((words[:middle], words[middle:])):
            pieces.append(f'<text x="0" y="{y - 4 + 19 * line}">{" ".join(part)}</text>')
        counts = {lane: sum(module.split(".")[0] == lane for module in order) for lane in LANES}
        first = [lane for lane in dict.fromkeys(module.split(".")[0] for module in order) if lane in counts]
        places = [_LEFT + _LANE * LANES.index(lane) + _LANE // 2 for lane in first]
        for number, (lane, x) in enumerate(zip(first, places, strict=True), 1):
            radius = 9 + 3 * counts[lane] ** 0.5
            pieces += [
                f'<circle cx="{x}" cy="{y}" r="{radius:.1f}" fill="#2f6f9f"/>',
                f'<text x="{x}" y="{y + 5}" text-anchor="middle" fill="#fff" font-weight="600">{counts[lane]}</text>',
                f'<text x="{x + radius:.1f}" y="{y - radius:.1f}" font-size="11" opacity=".7">{number}.</text>',
            ]
    return "\n".join([*pieces, "</svg>", ""])


def simulated_data(folder: Path) -> tuple[Path, Path, Path]:
    """Write 60 pictures of noise, a log of good rows, and a labelled log whose second half is shifted."""
    import cv2

    generator = np.random.default_rng(0)
    pictures = folder / "parts" / "train" / "good"
    pictures.mkdir(parents=True)
    for number in range(60):
        noise = np.clip(generator.normal(120, 20, (48, 48, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(pictures / f"{number:03}.png"), noise)
    values = generator.normal(size=(ROWS, 3))
    good, labelled = folder / "good.csv", folder / "labelled.csv"
    write_log(good, values)
    faulty = np.arange(ROWS) > ROWS // 2
    write_log(labelled, values + 4 * faulty[:, None] * np.array([1, 0, 0]), faulty)
    return folder / "parts", good, labelled


def write_log(path: Path, values: np.ndarray, labels: np.ndarray | None = None) -> None:
    """Write a CSV log of three channels at 10 Hz."""
    lines = ["time,a,b,c" + (",label" if labels is not None else "")]
    for row, (a, b, c) in enumerate(values):
        label = f",{int(labels[row])}" if labels is not None else ""
        lines.append(f"{row / 10:.1f},{a:.4f},{b:.4f},{c:.4f}{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def andon(*arguments: str | Path) -> None:
    """Run an andon command without output."""
    from andon.cli import main as command

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as printed:
        code = command([str(argument) for argument in arguments])
    if code not in (0, 1):
        raise SystemExit(f"andon {' '.join(map(str, arguments))}: exit code {code}\n{printed.getvalue()}")


def main() -> None:
    """Print one JSON line for each walk."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--order", action="store_true", help="also print the modules of each walk, one per line")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw the walks into this file")
    arguments = parser.parse_args()
    orders: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts, good, labelled = simulated_data(folder)
        fast = ("train", "patchcore", "--preset", "fast", "--threads", "1", "--data", parts, "--out")
        windows, frames = folder / "windows.onnx", folder / "frames.onnx"
        andon(*fast, folder / "first")  # does the lazy imports, so that they do not appear in a walk
        andon("train", "pca", "--steps", "10", "--data", good, "--out", folder / "pca")
        andon("export", folder / "pca", "-o", windows, "--no-promise")
        frame = np.random.default_rng(1).integers(0, 256, (48, 48, 3)).astype(np.uint8)

        def judge() -> None:
            from andon.runtime import Detector

            Detector.load(frames)(frame)

        walks: dict[str, Callable[[], None]] = {
            "a frame through training": lambda: andon(*fast, folder / "second"),
            "a promise from flag to file": lambda: andon(
                "export", folder / "second", "-o", frames, "--false-reject", "0.2"
            ),
            "a frame through the runtime": judge,
            "a window through evaluation": lambda: andon("evaluate", windows, "--data", labelled, "--json"),
        }
        for title, work in walks.items():
            summary = figures(title, walk(work))
            order = summary.pop("order")
            assert isinstance(order, list)
            orders[title] = order
            print(json.dumps(summary), flush=True)
            if arguments.order:
                print(*(f"  {module}" for module in order), sep="\n")
    if arguments.svg is not None:
        arguments.svg.write_text(drawing(orders), encoding="utf-8")


if __name__ == "__main__":
    main()
