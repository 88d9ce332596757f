"""Monitor a line: judge each item of a source, and write one verdict per item as a JSON line or to other sinks.

SOURCE is one of:
  - a folder of pictures: existing pictures first, then new ones
  - a video, a camera index or a stream URL
  - a CSV or Parquet log
  - '-' for JSON lines on stdin

Each source has its own settings, listed below. A LINE.toml file holds the model, the source, all settings and the sinks of a line
instead: 'andon init' writes an example, and 'andon check' checks it.

example:
  andon monitor bottle.onnx incoming/ --out verdicts.jsonl --pictures rejects/
  andon monitor bottle.onnx incoming/ --no-follow | jq -c 'select(.status == "REJECT")'
  andon monitor pump.onnx pump.csv --speed recorded
  andon monitor bottle.onnx rtsp://camera.local/line1 --out verdicts.jsonl
  andon monitor line.toml
  andon monitor bottle.onnx incoming/ --sink json_lines:path=verdicts.jsonl --sink pictures:folder=rejects/,max_pictures=50

Each line has the keys seq, at, item, unit (frame, window), time_s, status (OK, INVALID, REJECT), reason, score, level, p_value,
threshold and model. Some lines also have part, detail and alarm. An item that cannot be read or judged is INVALID with its
reason. A source without new items is also reported as INVALID (stale), repeatedly.

Counters are printed to stderr: grabbed = judged + invalid + dropped. Items of files are never dropped. Items of a live source
are dropped if judging is too slow.

The first SIGINT or SIGTERM ends the command cleanly, the second immediately.

exit code 0: done, or stopped by a signal. 3: the source failed, the source ended while stale, no item could be judged, or output
(lines, pictures) was lost.
"""

import argparse
import logging
import os
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from andon.foundation.errors import ConfigError
from andon.foundation.flag_parser import FlagParser

if TYPE_CHECKING:
    from andon.monitor.config import Configuration, Line
    from andon.monitor.sink import ChosenSink
    from andon.monitor.web.page_monitor import Exceeds

logger = logging.getLogger(__name__)

SUMMARY = "monitor a line: judge a folder, video, camera or sensor data until it ends"


def configure(parser: FlagParser) -> None:
    """Add the flags, including the flags of the installed sources."""
    from andon.cli._source_flags import add_source_flags
    from andon.foundation.settings import add_flags
    from andon.monitor.config import Policy

    parser.add_argument("file", metavar="FILE.onnx|LINE.toml", help="model file, or configuration of a line")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        help="with a model file: a folder, video, log, camera index, URL, or '-' for stdin",
    )
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
    add_flags(parser, Policy, title="settings of the line")
    parser.add_argument_group("sinks", description=_sinks()).add_argument(
        "--sink",
        metavar="NAME[:key=value,...]",
        action="append",
        default=[],
        help="send verdicts to this sink; may be given several times (default: json_lines)",
    )
    parser.add_argument(
        "--log-json", action="store_true", help="write each log message as one JSON object on stderr, without counters"
    )
    add_source_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Monitor the source and return the exit code."""
    from andon.monitor.config import Configuration, read_configuration
    from andon.monitor.counter_line import CounterLine
    from andon.monitor.counters import counters_text, total
    from andon.monitor.logs import logging_to
    from andon.monitor.service import Service
    from andon.monitor.service_notify import notifier_from_environment
    from andon.monitor.signals import reload_on_signal, stop_on_signals
    from andon.monitor.thread_switches import frequent_switches
    from andon.sources.clock import SystemClock

    _hold_closed_streams()
    clock, stop = SystemClock(), threading.Event()
    with ExitStack() as restored:
        restored.enter_context(stop_on_signals(stop))
        if args.log_json and sys.stderr is not None:
            restored.enter_context(logging_to(sys.stderr, "json", level=logging.INFO))
        if args.file.lower().endswith(".toml"):
            _refuse_flags_with_a_line_file(args)
            configuration = read_configuration(args.file)
            _refuse_lines_without_triggers(args.file, configuration)
        else:
            configuration = Configuration(lines=(_line_of_flags(args),))
        counter_line = CounterLine(None if args.log_json else sys.stderr, clock)
        service = Service(
            configuration,
            clock,
            stop,
            notifier=notifier_from_environment(),
            on_status=lambda status: counter_line(total(line.counters for line in status.lines)),
            exceeds=_exceeds_promise() if configuration.web is not None else None,
        )
        with reload_on_signal(service.supervisor.request_reload), frequent_switches():
            end = service.run()
        for line in end.lines:
            name = line.name if len(configuration.lines) > 1 else ""
            counter_line.finish(line.finished.counters, "; ".join(line.notes), line=name)
            logger.info(
                "%s ended: %s", line.name or "the line", "; ".join([counters_text(line.finished.counters), *line.notes])
            )
        for name, failure in end.failures.items():
            counter_line.failed(name, failure)
    code = 0 if end.complete else 3
    if end.hung:
        # a thread that returns from a driver while the interpreter ends may abort the process
        logging.shutdown()
        if sys.stderr is not None:
            sys.stderr.flush()
        os._exit(code)
    return code


def _exceeds_promise() -> "Exceeds | None":
    """Return the function that compares rejects with the promise. None without the extra [calibrate]."""
    try:
        from andon.calibration.audit import exceeds_promise
    except ImportError:
        return None
    return exceeds_promise


def _line_of_flags(args: argparse.Namespace) -> "Line":
    """Return the line that the short form, FILE.onnx SOURCE, describes."""
    from andon.cli._source_flags import source_settings
    from andon.foundation.settings import from_flags
    from andon.monitor.config import ChosenSource, Line, Policy
    from andon.sources.addresses import shown_address
    from andon.sources.source import find

    if args.source is None:
        raise ConfigError(
            "expected FILE.onnx and SOURCE, or LINE.toml, got no SOURCE. Give, for example, a folder of pictures. See 'andon "
            "monitor --help'."
        )
    policy = from_flags(Policy, args)
    source = find(args.source)
    if source.stream is None:
        raise ConfigError(
            f"{shown_address(args.source)}: a {source.name} source cannot be monitored. Use 'andon score'."
        )
    return Line(
        model=args.file,
        source=ChosenSource(source, args.source, source_settings(source, args.source, args)),
        sinks=tuple(_chosen_sinks(args)),
        policy=policy,
    )


def _refuse_lines_without_triggers(file: str, configuration: "Configuration") -> None:
    """Refuse a line whose parts only a program could begin. It would judge frames, and never decide about a part."""
    for number, line in enumerate(configuration.lines):
        if line.needs_a_program:
            raise ConfigError(
                f'{file}: line[{number}].parts.trigger: expected a table [line.trigger] with trigger = "external", got none. Add '
                'the table, for example with kind = "mqtt", or run the file in a program that calls Monitor.trigger.'
            )


def _refuse_flags_with_a_line_file(args: argparse.Namespace) -> None:
    from andon.foundation.settings import fields, flag_of
    from andon.monitor.config import Policy
    from andon.sources.addresses import shown_address

    if args.source is not None:
        raise ConfigError(
            f"{args.file}: expected no SOURCE, because the file names it, got {shown_address(args.source)}. Leave it out."
        )
    own = ["out", "pictures", "max_pictures", "sink"]
    given = [name for name in own if getattr(args, name) not in (None, [])]
    given += [
        name for name in [*(setting.name for setting in fields(Policy)), *args.source_flags] if hasattr(args, name)
    ]
    if given:
        raise ConfigError(
            f"{', '.join(map(flag_of, given))}: expected no settings on the command line, because {args.file} holds the settings "
            "of the line. Write them there."
        )


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


def _hold_closed_streams() -> None:
    """Open the null device in place of closed standard streams.

    Otherwise the next opened file gets the descriptor, and output of libraries would be written into the verdicts.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
