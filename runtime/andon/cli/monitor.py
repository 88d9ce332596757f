"""Monitor a line: judge each item of a source, and write one verdict per item as a JSON line or to other sinks.

SOURCE is one of:
  - a folder of pictures: existing pictures first, then new ones
  - a video, a camera index or a stream URL
  - a CSV or Parquet log
  - '-' for JSON lines on stdin

Each source has its own settings, listed below.

example:
  andon monitor bottle.onnx incoming/ --out verdicts.jsonl --pictures rejects/
  andon monitor bottle.onnx incoming/ --no-follow | jq -c 'select(.status == "REJECT")'
  andon monitor pump.onnx pump.csv --speed recorded
  andon monitor bottle.onnx rtsp://camera.local/line1 --out verdicts.jsonl
  andon monitor bottle.onnx incoming/ --sink json_lines:path=verdicts.jsonl --sink pictures:folder=rejects/,max_pictures=50

Each line has the keys seq, at, item, unit (frame, window), time_s, status (OK, INVALID, REJECT), reason, score, level, p_value,
threshold and model. Some lines also have part and detail. An item that cannot be read or judged is INVALID with its reason. A
source without new items is also reported as INVALID (stale), repeatedly.

Counters are printed to stderr: grabbed = judged + invalid + dropped. Items of files are never dropped. Items of a live source
are dropped if judging is too slow.

The first SIGINT or SIGTERM ends the command cleanly, the second immediately.

exit code 0: done. 3: the source failed, the source was stale at the end, no item could be judged, or output (lines, pictures)
was lost.
"""

import argparse
import logging
import math
import os
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from andon.foundation.errors import ConfigError
from andon.foundation.flag_parser import FlagParser

if TYPE_CHECKING:
    from andon.monitor.sink import ChosenSink
    from andon.runtime.schema import Card

SUMMARY = "monitor a line: judge a folder, video, camera or sensor data until it ends"


def configure(parser: FlagParser) -> None:
    """Add the flags, including the flags of the installed sources."""
    from andon.cli._source_flags import add_source_flags

    parser.add_argument("file", metavar="FILE.onnx", help="model file")
    parser.add_argument("source", metavar="SOURCE", help="a folder, video, log, camera index, URL, or '-' for stdin")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="append JSON lines to this file; short for --sink json_lines:path=FILE (default: stdout, unless --sink is given)",
    )
    parser.add_argument(
        "--pictures",
        metavar="DIR",
        help="write rejected frames with the anomaly map drawn over them; short for --sink pictures:folder=DIR",
    )
    parser.add_argument(
        "--max-pictures",
        type=int,
        metavar="N",
        help="with --pictures: keep the newest N pictures (default: 1000, and at most 1 GiB)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="end after N items (default: no limit)")
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda", "auto"],
        default="cpu",
        help="device to run on; auto uses CUDA if there is one (default: cpu)",
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads for judging one item, 1 to 64 (default: 1)"
    )
    parser.add_argument(
        "--frame-size",
        choices=["calibrated", "any"],
        help="any: also judge frames of other sizes, which the promise does not cover (default: calibrated)",
    )
    parser.add_argument_group("sinks", description=_sinks()).add_argument(
        "--sink",
        metavar="NAME[:key=value,...]",
        action="append",
        default=[],
        help="send verdicts to this sink; may be given several times (default: json_lines)",
    )
    add_source_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Monitor the source and return the exit code."""
    from andon.cli._source_flags import source_settings
    from andon.monitor.counter_line import CounterLine
    from andon.monitor.loop import monitor
    from andon.monitor.signals import stop_on_signals
    from andon.monitor.sink import QueuedSink, Sink, SinkContext
    from andon.runtime.detector import Detector
    from andon.runtime.judge import judge_of
    from andon.sources.addresses import shown_address
    from andon.sources.clock import SystemClock
    from andon.sources.source import find

    _hold_closed_streams()
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit: expected at least 1 item, got {args.limit}.")
    clock, stop = SystemClock(), threading.Event()
    with stop_on_signals(stop), ExitStack() as open_sinks:
        source = find(args.source)
        if source.stream is None:
            raise ConfigError(
                f"{shown_address(args.source)}: a {source.name} source cannot be monitored. Use 'andon score'."
            )
        settings = source_settings(source, args.source, args)
        chosen = _chosen_sinks(args)
        detector = Detector.load(
            args.file, device=args.device, threads=args.threads, frame_size=args.frame_size or "calibrated"
        )
        _refuse_frame_size_of_windows(args, detector.card)
        stream, spec = source.stream, detector.card.input
        context = SinkContext(
            card=detector.card,
            clock=clock,
            stop=stop,
            source=args.source,
            can_wait=not (source.live or source.endless(args.source, settings)),
        )
        sinks: list[Sink] = []
        for one in chosen:
            sinks.append(one.open(context))
            open_sinks.callback(sinks[-1].close)
        queued = [sink for sink in sinks if isinstance(sink, QueuedSink)]
        counter_line = CounterLine(sys.stderr, clock)
        finished = monitor(
            judge_of(detector),
            lambda: stream(args.source, spec, settings, clock, stop),
            sinks,
            clock,
            stop,
            name=source.name,
            live=source.live,
            stale_after_s=settings.stale_after_s if source.live else math.inf,
            limit=args.limit,
            on_counters=counter_line,
        )
        if not (finished.stopped or finished.consumer_gone):
            for sink in queued:
                sink.drain()
        open_sinks.close()  # before the last line, which contains their summaries
        notes = [sink.summary for sink in sinks] + [finished.failure and f"source failed: {finished.failure}"]
        counter_line.finish(finished.counters, "; ".join(text for text in notes if text))
    nothing_judged = finished.counters.judged == 0 and finished.counters.invalid > 0
    partly = finished.failure or finished.stale or nothing_judged or any(sink.lost for sink in sinks)
    code = 3 if partly else 0
    if finished.hung or any(sink.hung for sink in queued):
        # a thread that returns from a driver while the interpreter ends may abort the process
        logging.shutdown()
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(code)
    return code


def _sinks() -> str:
    """Return the installed sinks with their keys, for the help."""
    from andon.foundation.registry import members
    from andon.foundation.settings import fields

    lines = []
    for name, kind in members("andon.sinks"):
        lines.append(f"{name}: {kind.summary}")
        lines += [
            f"  {setting.name:<14} {setting.description} ({', '.join(filter(None, [setting.default_text, setting.bounds]))})"
            for setting in fields(kind.settings)
        ]
    return "\n".join(lines)


def _chosen_sinks(args: argparse.Namespace) -> list["ChosenSink"]:
    """Return the sinks that the flags ask for, pictures first and JSON lines to --out last."""
    from andon.monitor.sink import sink_from_table, sink_from_text

    if args.max_pictures is not None and args.pictures is None:
        raise ConfigError(
            "--max-pictures: expected --pictures DIR too, got none. Give --pictures, or leave the flag out."
        )
    chosen = []
    if args.pictures is not None:
        table: dict[str, object] = {"kind": "pictures", "folder": args.pictures}
        if args.max_pictures is not None:
            table["max_pictures"] = args.max_pictures
        chosen.append(sink_from_table(table))
    chosen += [sink_from_text(text) for text in args.sink]
    if args.out is not None or not args.sink:
        chosen.append(sink_from_table({"kind": "json_lines", "path": "-" if args.out is None else args.out}))
    return chosen


def _refuse_frame_size_of_windows(args: argparse.Namespace, card: "Card") -> None:
    from andon.runtime.schema import WindowSpec

    if args.frame_size is not None and isinstance(card.input, WindowSpec):
        raise ConfigError(
            f"--frame-size: expected a model file for frames, got {args.file}, which judges windows of sensor data. Leave the "
            "flag out."
        )


def _hold_closed_streams() -> None:
    """Open the null device in place of closed standard streams.

    Otherwise the next opened file gets the descriptor, and output of libraries would be written into the verdicts.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
