"""Measure what an audit of stored verdicts costs, and compare its numbers with scipy. One JSON line per case.

    python -m benchmarks.audit_results                        # 1 000 000 rows
    python -m benchmarks.audit_results --rows 4000000         # how memory grows
    python -m benchmarks.audit_results --picture drift.png    # only the simulated drift that docs/how-to/audit.md shows

Each case runs `andon audit` in a fresh process, so `cpu_s` includes the imports. `cpu_without_imports_s` is the same command in a
process that has imported everything and has audited a small folder. `peak_mb` is the largest resident memory of the fresh
process. `error` is the largest relative difference from a count with numpy and the bounds of scipy.stats, over all groups.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.stats import beta, binomtest
from tests.evaluation.results.folders import identity, of_block, write_results

from andon.archive.columns import write_options
from andon.archive.results import block_path, open_results, write_manifest
from andon.cli import main as andon

LINES, DAYS, FRAMES = 10, 92, 3
EPOCH = date(1970, 1, 1)


def main() -> None:
    """Measure all cases and print JSON lines, or draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", metavar="FILE")
    args = parser.parse_args()
    if args.picture is not None:
        _draw(args.picture, args.seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        singles = _write(root / "singles", args.rows, args.seed, frames=1)
        parts = _write(root / "parts", args.rows, args.seed, frames=FRAMES)
        older = _write(root / "older", args.rows, args.seed, frames=FRAMES, model="older")
        for name in ("singles", "parts", "older"):
            _write(
                root / f"small-{name}", 1000, args.seed, frames=FRAMES, model="older" if name == "older" else "newer"
            )
        twice = _write(root / "twice", args.rows // 2, args.seed, frames=1)
        _write(root / "small-twice", 1000, args.seed, frames=1)
        for name in ("twice", "small-twice"):
            _repeat_each_item(root / name)
        cases = {
            "single items": (singles, ["{}singles"]),
            "each item twice": (twice, ["{}twice"]),
            "parts of 3 items": (parts, ["{}parts"]),
            "parts of 3 items, with a picture": (parts, ["{}parts", "--out", "{}drift.png"]),
            "parts of 3 items, against an older model": (parts, ["{}parts", "--against", "{}older"]),
        }
        for name, (columns, pattern) in cases.items():
            words = [word.format(f"{root}/") for word in pattern]
            fresh = _fresh(words)
            within = _within(words, [word.format(f"{root}/small-") for word in pattern])
            error = _error(columns, fresh["printed"], older if "--against" in words else None)
            size = sum(path.stat().st_size for path in Path(words[0]).rglob("*.parquet"))
            print(json.dumps({
                "case": name, "rows": args.rows, "bytes_a_row": round(size / args.rows, 1),
                "cpu_s": round(fresh["cpu_s"], 2), "cpu_without_imports_s": round(within, 2),
                "peak_mb": round(fresh["peak_mb"]), "groups": sum(map(len, fresh["printed"]["groups"].values())),
                "finding": fresh["printed"]["finding"], "error": error, "seed": args.seed, "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1), "python": platform.python_version(),
            }), flush=True)  # fmt: skip


def _write(folder: Path, rows: int, seed: int, *, frames: int, model: str = "newer") -> dict[str, Any]:
    """Write rows in order of time, as a year of several lines gives them, and return what `_error` needs."""
    rng = np.random.default_rng(seed)
    part = np.arange(rows) // frames
    count = int(part[-1]) + 1
    line, lot = part % LINES, part // 200 // LINES * LINES + part % LINES
    quality = rng.gamma(12.0, 0.035, rows)
    noise = np.random.default_rng([seed, len(model), ord(model[0])]).normal(0, 0.01, rows)
    score = (quality + noise).astype(np.float32)
    day = 20_600 + part * DAYS // count
    labels: NDArray[np.object_] = np.array(["good", "defect", None], object)
    code = rng.choice(3, count, p=[0.9, 0.01, 0.09])[part]
    write_results(
        folder,
        score,
        judged_by=identity(model, threshold=0.85),
        line=np.array([f"line {number}" for number in range(LINES)], object)[line],
        lot=np.char.add("lot ", lot.astype(str)).astype(object),
        part_id=None if frames == 1 else np.char.add("part ", part.astype(str)).astype(object),
        label=labels[code],
        day=day + 0.5,
    )
    rejected = np.zeros(count, np.bool_)
    np.logical_or.at(rejected, part, score > np.float32(0.85))
    first = np.arange(count) * frames
    return {
        "rejected": rejected,
        "good": code[first] == 0,
        "line": line[first],
        "day": day[first],
        "lot": lot[first],
    }


def _repeat_each_item(folder: Path) -> None:
    """Name each block again under another key."""
    results = open_results(folder)
    blocks = results.manifest.blocks
    for block in blocks:
        key = f"again-{block.key}"
        rows = of_block(pq.read_table(block_path(folder, block.key)), key)
        pq.write_table(rows, block_path(folder, key), **write_options())
    again = [replace(block, key=f"again-{block.key}") for block in blocks]
    write_manifest(folder, replace(results.manifest, blocks=()), [*blocks, *again])


def _draw(picture: str, seed: int) -> None:
    """Draw two lines over 150 days. The scores of L2 grow by up to a third."""
    rng = np.random.default_rng(seed)
    day = np.repeat(20_600 + np.arange(150), 800)
    second = np.arange(len(day)) % 2 == 1
    growth = np.where(second, 0.35 * ((day - 20_600) / 150) ** 2, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        results = write_results(
            Path(folder) / "results",
            rng.gamma(12.0, 0.035, len(day)) * (1 + growth),
            judged_by=identity("washers", threshold=0.85),
            line=np.array(["L1", "L2"], object)[second.astype(int)],
            day=day,
            label=np.full(len(day), "good", object),
        )
        andon(["audit", str(results), "--out", picture])


def _fresh(words: list[str]) -> dict[str, Any]:
    """Run the command in a fresh process and return its CPU seconds, its memory and its output."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, "-m", "andon", "audit", *words, "--json"], stdout=out)
        used, peak_mb = None, 0.0
        while used is None:
            peak_mb = max(peak_mb, _peak_mb(process.pid))
            time.sleep(0.02)
            ended, _, usage = os.wait4(process.pid, os.WNOHANG)
            used = usage if ended else None
        process.returncode = 0
        out.seek(0)
        printed = json.loads(out.read())
    return {"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": peak_mb, "printed": printed}


def _peak_mb(pid: int) -> float:
    # not ru_maxrss, which a child inherits from this large process
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _within(words: list[str], small: list[str]) -> float:
    """Return the CPU seconds of the command in this process, after the same command has audited a small folder."""
    with contextlib.redirect_stdout(io.StringIO()):
        andon(["audit", *small, "--json"])
        before = time.process_time()
        andon(["audit", *words, "--json"])
        return time.process_time() - before


def _error(columns: dict[str, Any], printed: dict[str, Any], older: dict[str, Any] | None) -> float:
    """Return the largest relative difference from scipy. The counts must be equal."""
    rejected, good = columns["rejected"], columns["good"]
    assert (printed["parts"], printed["rejects"]) == (good.sum(), (good & rejected).sum())
    worst = _difference(printed)
    for by, groups in printed["groups"].items():
        parts = np.bincount(columns[by][good])
        rejects = np.bincount(columns[by][good & rejected], minlength=len(parts))
        assert len(groups) == (parts > 0).sum()
        for group in groups:
            number = (date.fromisoformat(group["name"]) - EPOCH).days if by == "day" else int(group["name"].split()[1])
            assert (group["parts"], group["rejects"]) == (parts[number], rejects[number])
            worst = max(worst, _difference(group))
    if older is not None:
        decisions = printed["back_test"]["decisions"]
        only_new = int((rejected & ~older["rejected"]).sum())
        only_old = int((older["rejected"] & ~rejected).sum())
        assert (decisions["only_new_rejects"], decisions["only_old_rejects"]) == (only_new, only_old)
        expected = binomtest(only_new, only_new + only_old, 0.5).pvalue
        worst = max(worst, abs(decisions["p_value"] / expected - 1))
    return worst


def _difference(group: dict[str, Any]) -> float:
    """Return the largest relative difference of the bounds from scipy.stats."""
    k, n = group["rejects"], group["parts"]
    lower = beta.ppf(0.05, k, n - k + 1) if k else 0.0
    upper = beta.ppf(0.95, k + 1, n - k) if k < n else 1.0
    low = abs(group["lower"] / lower - 1) if lower else group["lower"]
    return float(max(low, abs(group["upper"] / upper - 1)))


if __name__ == "__main__":
    main()
