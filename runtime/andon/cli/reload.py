"""Make a running monitor load its model files again, and wait for the result.

The monitor loads each file next to the running one, checks its golden sample, and judges with it from the next item on. A wrong
file is refused, and the old one stays. LINE.toml needs a table [store]. A monitor also loads a replaced file by itself (key
reload).

example:
  mv new.onnx washers.onnx && andon reload line.toml

exit code 0: all lines judge with their file. 1: a file was refused. 3: no answer in time.
"""

import argparse

from andon.cli._numbers import whole

SUMMARY = "make a running monitor load its model files again"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", metavar="LINE.toml", help="configuration of the running monitor")
    parser.add_argument(
        "--timeout-s", type=whole(1, 3600), default=60, metavar="N", help="longest wait in seconds (default: 60)"
    )


def run(args: argparse.Namespace) -> int:
    """Send the request, and print the result of each line."""
    import os
    import signal
    from pathlib import Path

    from andon.cli import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_PARTLY
    from andon.foundation.errors import ConfigError
    from andon.monitor.config import read_configuration
    from andon.monitor.event import ModelChanged
    from andon.monitor.event_text import event_text
    from andon.monitor.store import StoreReader
    from andon.monitor.store_folder import holder
    from andon.sources.clock import SystemClock

    configuration = read_configuration(args.file)
    if configuration.store is None:
        raise ConfigError(
            f"{args.file}: expected a table [store], found none. Without it, send SIGHUP to the process of the monitor."
        )
    if not hasattr(signal, "SIGHUP"):
        raise ConfigError(
            "andon reload: expected a system with signals. Here, replace the model file: it is then loaded."
        )
    folder = Path(configuration.store.path)
    process = holder(folder)
    if process is None:
        raise ConfigError(f"{folder}: expected a running monitor that uses this folder, found none. Start it first.")
    reader = StoreReader(folder)
    newest = reader.recent(limit=1)
    before = newest[0].seq if newest else 0
    os.kill(process, signal.SIGHUP)
    clock = SystemClock()
    until_s = clock.mono_s() + args.timeout_s
    waiting = {line.name for line in configuration.lines}
    refused = False
    while waiting and clock.mono_s() < until_s:
        clock.sleep(0.1)
        for event in reversed(reader.recent(kind="model", limit=100)):
            if event.seq > before and event.line in waiting and isinstance(event.body, ModelChanged):
                waiting.discard(event.line)
                refused = refused or bool(event.body.refused)
                print(event_text(event))
    if waiting:
        print(
            f"no answer within {args.timeout_s} s from {', '.join(sorted(waiting))}; 'andon events' shows later results"
        )
        return EXIT_PARTLY
    return EXIT_CHECK_FAILED if refused else EXIT_DONE
