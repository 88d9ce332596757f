"""Watch a line: one verdict as a JSON line for each item that a source gives, until it ends or is told to.

SOURCE is a folder of pictures (what is there, then what arrives), a video, a camera index or stream URL, a CSV or
Parquet log, or '-' for JSON lines on stdin.

example:
  andon monitor bottle.onnx incoming/ --out verdicts.jsonl --pictures rejects/
  andon monitor bottle.onnx incoming/ --no-follow | jq -c 'select(.status == "REJECT")'
  andon monitor pump.onnx pump.csv --speed recorded
  andon monitor bottle.onnx rtsp://camera.local/line1 --out verdicts.jsonl

The lines hold: seq, at, item, unit (frame, window), time_s, status (OK, INVALID, REJECT), reason, score, level, p_value,
threshold, model; part and detail where there is something to say. What cannot be read or judged is INVALID with its reason,
and so is a source that gives nothing to judge (stale), again and again.
Counters go to stderr, always: grabbed = judged + invalid + dropped. Files are never dropped, a live source may be.
The first SIGINT or SIGTERM ends it cleanly, the second at once. Exit code 3: the source failed or was stale at the end,
nothing could be judged, or lines or pictures were lost.
"""

import argparse
import logging
import os
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from andon.foundation.settings import add_flags, from_flags
from andon.sources.source import StreamOptions

SUMMARY = "watch a line: verdicts as JSON lines, for a folder, a video, a camera or sensor data"


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags."""
    parser.add_argument("file", metavar="FILE.onnx", help="a model file")
    parser.add_argument("source", metavar="SOURCE", help="a folder, video, log, camera index, URL, or '-' for stdin")
    parser.add_argument(
        "--out", metavar="FILE", default="-", help="append the lines to this file, whole lines only (default: stdout)"
    )
    parser.add_argument("--pictures", metavar="DIR", help="keep rejected frames with the anomaly map laid over them")
    parser.add_argument(
        "--max-pictures", type=int, default=1000, metavar="N", help="the newest N of them (default 1000, and 1 GiB)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="end after N items")
    parser.add_argument("--device", choices=["cpu", "cuda", "auto"], default="cpu", help="where to run (default cpu)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of one judgement (default 1)")
    parser.add_argument(
        "--frame-size",
        choices=["calibrated", "any"],
        default="calibrated",
        help="'any' judges frames of other sizes than the calibrated one, about which nothing is promised",
    )
    add_flags(parser, StreamOptions)


def run(args: argparse.Namespace) -> int:
    """Watch, and tell what became of everything."""
    from andon.foundation.errors import ConfigError
    from andon.monitor.counter_line import CounterLine
    from andon.monitor.loop import monitor
    from andon.monitor.signals import stop_on_signals
    from andon.monitor.sink import Sink
    from andon.monitor.sinks.json_lines import JsonLines
    from andon.monitor.sinks.pictures import Pictures
    from andon.runtime.detector import Detector
    from andon.runtime.judge import judge_of
    from andon.sources.addresses import shown_address
    from andon.sources.clock import SystemClock
    from andon.sources.source import find

    _hold_closed_streams()
    options = from_flags(StreamOptions, args)
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit: expected 1 item or more, got {args.limit}.")
    clock, stop = SystemClock(), threading.Event()
    with stop_on_signals(stop), ExitStack() as open_sinks:
        detector = Detector.load(args.file, device=args.device, threads=args.threads, frame_size=args.frame_size)
        source = find(args.source)
        if source.stream is None:
            raise ConfigError(
                f"{shown_address(args.source)}: a {source.name} source cannot be followed; use 'andon score'."
            )
        stream, spec = source.stream, detector.card.input
        sinks: list[Sink] = []
        pictures: Pictures | None = None
        if args.pictures is not None:
            _refuse_pictures_within(args.source, args.pictures)
            endless = source.live or (options.follow and Path(args.source).is_dir())
            pictures = Pictures(
                Path(args.pictures),
                detector.card,
                clock=clock,
                stop=stop,
                wait=not endless,
                max_pictures=args.max_pictures,
            )
            sinks.append(pictures)
            open_sinks.callback(pictures.close)
        sinks.append(JsonLines(args.out, clock=clock, stop=stop))
        open_sinks.callback(sinks[-1].close)
        shown = CounterLine(sys.stderr, clock)
        finished = monitor(
            judge_of(detector),
            lambda: stream(args.source, spec, options, clock, stop),
            sinks,
            clock,
            stop,
            name=source.name,
            live=source.live,
            stale_after_s=options.stale_after_s,
            limit=args.limit,
            on_counters=shown,
        )
        if pictures is not None and not (finished.stopped or finished.consumer_gone):
            pictures.drain()
        open_sinks.close()  # before the last line, which tells what they kept
        told = [sink.summary for sink in sinks] + [finished.failure and f"source failed: {finished.failure}"]
        shown.finish(finished.counters, "; ".join(text for text in told if text))
    nothing_judged = finished.counters.judged == 0 and finished.counters.invalid > 0
    partly = finished.failure or finished.stale or nothing_judged or any(sink.lost for sink in sinks)
    code = 3 if partly else 0
    if finished.hung or (pictures is not None and pictures.hung):
        # a thread that returns from a driver while the interpreter is being taken down may abort the process
        logging.shutdown()
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(code)
    return code


def _hold_closed_streams() -> None:
    """Put the null device in place of closed standard streams.

    The next file opened would take their number, and what a library prints would go into the verdicts.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _refuse_pictures_within(source: str, pictures: str) -> None:
    from andon.foundation.errors import ConfigError

    watched, kept = Path(os.path.realpath(source)), Path(os.path.realpath(pictures))
    if not watched.is_dir() or not kept.is_relative_to(watched):
        return
    if any(name.startswith(".") for name in kept.relative_to(watched).parts):  # hidden folders are not watched
        return
    raise ConfigError(
        f"--pictures {pictures}: expected a folder outside {source}, got one within, where each reject picture would be judged "
        f"again. Give another folder, or a hidden one such as {Path(source) / '.rejects'}."
    )
