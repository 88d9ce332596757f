"""An alarm about the monitor's own work on a line."""

from andon.monitor.event import AlarmChanged
from andon.monitor.fault_alarm import FaultAlarm
from andon.sources.clock import SystemClock


# Complaint 21: alarms flap, or do not return to normal.
def test_bad_steps_in_a_row_raise_it_once_and_a_good_one_clears_it() -> None:
    changes: list[AlarmChanged] = []
    alarm = FaultAlarm("parts", SystemClock(), changes.append, in_a_row=3)
    for bad in (True, True, False, True, True, True, True, False):
        alarm.step(bad=bad, text="look at the camera")

    assert [(one.change, one.number, one.text) for one in changes] == [
        ("raised", 1, "look at the camera"),
        ("cleared", 1, ""),
    ]
    assert alarm.state.condition == "normal"


def test_a_latched_alarm_stays_until_the_right_one_is_acknowledged() -> None:
    changes: list[AlarmChanged] = []
    alarm = FaultAlarm("reject_signal", SystemClock(), changes.append, latch=True)
    for bad in (True, False, True, False):
        alarm.step(bad=bad, text="x")

    assert not alarm.acknowledge(7, "an operator")
    assert alarm.acknowledge(1, "an operator")
    assert [(one.change, one.occurrence) for one in changes] == [
        ("raised", 1),
        ("cleared", 1),
        ("repeated", 2),
        ("cleared", 2),
        ("ack_refused", 0),
        ("acked", 2),
    ]
