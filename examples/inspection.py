"""Inspection software with callbacks: a line runs in threads of this program, and rejects arrive in a function.

python examples/inspection.py washers.onnx parts/test/chip
"""

import sys

from andon.monitor import Monitor
from andon.monitor.alarms import AlarmRule
from andon.runtime import Status


def on_outcome(outcome):
    """Act on a verdict. This runs in the thread of the line, so it must be fast."""
    if outcome.verdict.status is Status.REJECT:
        print(f"{outcome.ref.key}: reject, level {outcome.verdict.level:.2f}")


def on_event(event):
    """Act on an event, for example switch the lamp on when the alarm is raised."""
    if event.kind == "alarm":
        print(f"alarm {event.body.alarm}: {event.body.change}. {event.body.text}".rstrip())


def main(model, folder):
    """Judge a folder. A camera index, a stream URL or a log works as well."""
    with Monitor(on_event=on_event) as monitor:
        rule = AlarmRule(k=2, n=3, clear_n=3)
        monitor.add_line(
            "press-3", model=model, source=folder, on_outcome=on_outcome, alarm=rule, settings={"follow": False}
        )
        monitor.start()
        end = monitor.wait()  # with a camera: do other work, and leave the block to stop
        print(end.lines[0].finished.counters)


if __name__ == "__main__":
    main(*sys.argv[1:])
