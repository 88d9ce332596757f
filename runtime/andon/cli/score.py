"""Judge pictures, folders, videos and logs, and print one line per item.

example:
  andon score bottle.onnx part.png
  andon score bottle.onnx shift/ --overlay heat/ --json > verdicts.jsonl
  andon score pump.onnx log.csv
  andon score bottle.onnx shift/ --explain why/ --run run/    # only patchcore: it compares with patches of good parts
  andon score digits.onnx part.png --json --evidence    # also the other scores, channel shares, memory items
  andon score bottle.onnx shift.parquet --out results/  # an archive: blocks in parallel, results in Parquet files

If items of several PATHs have the same name, the names of their folders are added, for example good/000.png.

columns:

  status        OK, REJECT, or INVALID if the item could not be judged.
  level         The score on a scale where 0 is a typical good part and 1 is the threshold.
  score         The score itself, without bounds. Higher is worse.
  good as high  Share of good parts whose score is equal to or higher than this score (p_value in JSON).

A typical good part has about 50 % in the column "good as high". A part that is unlike all good parts has nearly 0 %. With n
calibration parts the smallest possible value is 1/(n + 1), for example 5.3 % with 18 parts. The column does not decide: the
threshold does.

exit code 0: all items were judged. 3: at least one item was not judged, because it is unreadable, its size differs from the
calibrated size, or the runtime failed. Such an item gets a line with INVALID and the reason. The other items are judged.

archives (with --out): INPUT is a folder of pictures, a list of paths (.txt), Parquet files with the columns item_id and bytes or
uri, s3://bucket/prefix, or a log. Several processes judge blocks of items and write one file of results for each block. After
an interruption, run the same command again: blocks with results are skipped. _manifest.json names the blocks that belong to the
results; 'andon audit RESULTS/' reads them.

exit code with --out: 0: every block has results. INVALID items are rows, not errors. 3: blocks are missing, because they failed,
the disk is full, or --limit-blocks left them out.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from andon.cli._archive import configure_archive

if TYPE_CHECKING:
    from andon.runtime.schema import Card
    from andon.runtime.verdict import Verdict

SUMMARY = "judge pictures, folders, videos and logs, one line per item"

LONGEST_KEY = 8192
"""Upper limit of printed characters of a key: twice the longest path in Linux."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", metavar="FILE.onnx", help="model file")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="a picture, a folder, a video, a CSV or Parquet log; with --out one INPUT",
    )
    parser.add_argument(
        "--overlay",
        metavar="DIR",
        type=Path,
        help="frames: write each frame with its heat map and its verdict into this folder",
    )
    parser.add_argument(
        "--explain", metavar="DIR", type=Path,
        help="frames: write each reject next to the most similar places of good parts into this folder; needs --run",
    )  # fmt: skip
    parser.add_argument(
        "--run", dest="run_folder", metavar="RUN", help="with --explain: the run folder that the file was exported from"
    )
    parser.add_argument(
        "--data", metavar="PATH", help="with --explain: new location of the good parts (default: as in the run)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--evidence", action="store_true",
                        help="with --json: include evidence (scores, channel shares), except maps and pictures")  # fmt: skip
    parser.add_argument("--frame-size", choices=["calibrated", "any"],
                        help="any: also judge frames of other sizes, which the promise does not cover "
                        "(default: calibrated)")  # fmt: skip
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda", "auto"],
        default="cpu",
        help="device to run on; auto uses the device of the calibration (default: cpu)",
    )
    parser.add_argument(
        "--provider",
        choices=["calibrated", "any"],
        help="any: also judge on another type of device than the calibrated one, without a promise (default: calibrated)",
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads for judging one item, 1 to 64 (default: 1)"
    )
    configure_archive(parser)


def run(args: argparse.Namespace) -> int:
    """Judge all items of all paths. Return exit code 3 if some could not be judged."""
    from andon.cli._archive import refuse_unfit_flags, run_archive

    refuse_unfit_flags(args)
    if args.out is not None:
        return run_archive(args)
    return _run_items(args)


def _run_items(args: argparse.Namespace) -> int:
    from andon.cli._explanations import Explanations
    from andon.cli._overlays import Overlays
    from andon.foundation.errors import ConfigError
    from andon.foundation.progress import ProgressLine, silent, track
    from andon.runtime.detector import Detector, FrameSize
    from andon.runtime.judge import judge_items
    from andon.runtime.schema import Status
    from andon.sources.opening import open_for
    from andon.sources.unique_keys import key_prefixes

    if args.evidence and not args.json:
        raise ConfigError(
            "--evidence: expected --json too, because the evidence is part of the JSON objects. Give both."
        )
    if (args.explain is None) != (args.run_folder is None) or (args.data is not None and args.explain is None):
        raise ConfigError(
            "--explain: expected --explain DIR and --run RUN together, and --data only with them. Give for example --explain "
            "why/ --run run/."
        )
    frame_size: FrameSize = args.frame_size or "calibrated"
    detector = Detector.load(
        args.file,
        device=args.device,
        threads=args.threads,
        frame_size=frame_size,
        provider=args.provider or "calibrated",
    )
    _refuse_flags_without_effect(args, detector.card)
    overlays = Overlays(args.overlay, detector.card) if args.overlay else None
    explanations = Explanations(args.explain, args.run_folder, detector, data=args.data) if args.explain else None
    unjudged = 0
    before = key_prefixes(args.paths, detector.card.input)
    progress = ProgressLine() if not sys.stdout.isatty() else silent  # on a terminal the lines show the progress
    if not args.json:
        print(f"{'status':<8} {'level':>7}  {'score':>12}  good as high  item")
    for path, prefix in zip(args.paths, before, strict=True):
        collection = open_for(path, detector.card.input)
        items = (collection.read(ref) for ref in track(collection.refs, progress, "scoring"))
        for one in judge_items(detector, items, on_failure="invalid"):
            key, verdict = prefix + one.ref.key, one.verdict
            if overlays and one.data is not None and "anomaly_map" in verdict.evidence:
                overlays.write(key, one.data, verdict)
            if explanations and one.data is not None and verdict.status == Status.REJECT:
                explanations.write(key, one.data, verdict)
            unjudged += not one.judged
            plain = {"item": key} | verdict.to_dict() | (_evidence(verdict) if args.evidence else {})
            if one.channel:
                plain |= {"channel": one.channel, "detail": one.detail}
            print(json.dumps(plain) if args.json else _line(plain, one.detail))
    return 3 if unjudged else 0


def _refuse_flags_without_effect(args: argparse.Namespace, card: "Card") -> None:
    from andon.foundation.errors import ConfigError
    from andon.runtime.schema import WindowSpec

    if isinstance(card.input, WindowSpec):
        for flag in ("overlay", "explain", "frame_size"):
            if getattr(args, flag) is not None:
                raise ConfigError(
                    f"--{flag.replace('_', '-')}: expected a model file for frames, got {args.file}, which judges windows of "
                    "sensor data. Leave the flag out."
                )
    if args.overlay is not None and "anomaly_map" not in card.outputs:
        raise ConfigError(f"--overlay: expected a model file with a heat map, got {args.file}. Leave the flag out.")


def _evidence(verdict: "Verdict") -> dict[str, Any]:
    """Return the evidence by output name, without maps and pictures."""
    from andon.runtime.schema import json_number

    rows = {name: array for name, array in verdict.evidence.items() if array.ndim < 2}
    plain = {
        name: [json_number(value) for value in array.tolist()] if array.ndim else json_number(float(array))
        for name, array in rows.items()
    }
    return {"evidence": plain}


def _line(plain: dict[str, Any], detail: str) -> str:
    from andon.foundation.printable import printable

    level, score, as_high = (
        f"{plain[name]:{width}}" if plain[name] is not None else " " * int(width.partition(".")[0])
        for name, width in (("level", "7.2f"), ("score", "12.6g"), ("p_value", "12.2%"))
    )
    # a file name may contain line breaks and terminal commands
    item = printable(plain["item"], limit=LONGEST_KEY)
    why = f": {printable(detail)}" if detail else ""
    return f"{plain['status']:<8} {level}  {score}  {as_high}  {item}{why}"
