"""Live and ready are decided from the status alone. Complaint 4: a live event loop does not make a monitor live."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.monitor.statuses import FULL, LINE, statuses, texts, with_line

from andon.monitor.health import liveness, readiness
from andon.monitor.status import ProcessStatus, StoreStatus


def test_a_working_monitor_is_live_and_ready() -> None:
    assert liveness(FULL).ok
    assert readiness(FULL).ok


# Complaint 4
def test_a_line_that_runs_but_has_not_judged_within_its_limit_is_not_live() -> None:
    assert liveness(with_line(last_outcome_s=998.1)).ok
    assert liveness(with_line(last_outcome_s=997.9)).reasons == (
        "line bottles: it runs, but has not judged an item for 2.1 s (limit 2 s)",
    )


@pytest.mark.parametrize("known", [{"state": "retrying"}, {"state": "ended"}, {"state": "failed"}, {"quiet_ok": True}])
def test_a_line_whose_silence_has_a_known_reason_is_live(known: dict[str, object]) -> None:
    assert liveness(with_line(last_outcome_s=1.0, since_s=1.0, **known)).ok


def test_the_limit_begins_again_when_a_source_has_come_back() -> None:
    assert liveness(with_line(last_outcome_s=100.0, since_s=999.0)).ok


def test_a_line_that_runs_needs_a_first_item() -> None:
    assert not liveness(with_line(last_outcome_s=None, since_s=None)).ok
    assert liveness(with_line(last_outcome_s=None, since_s=999.0)).ok
    assert not liveness(with_line(last_outcome_s=None, since_s=900.0)).ok


@pytest.mark.parametrize("state", ["running", "retrying", "ended"])
def test_a_judge_call_of_more_than_ten_seconds_is_not_live_in_any_state(state: str) -> None:
    assert liveness(with_line(state=state, judging_since_s=990.0)).ok
    assert liveness(with_line(state=state, judging_since_s=989.9)).reasons == (
        "line bottles: the judge has been busy with one item for 10.1 s (limit 10 s)",
    )


def test_a_line_that_never_leaves_its_start_is_not_live() -> None:
    assert liveness(with_line(state="starting", last_outcome_s=None, since_s=900.0)).ok
    assert not liveness(with_line(state="starting", last_outcome_s=None, since_s=879.0)).ok


def test_a_line_that_ended_with_an_error_is_not_ready_but_does_not_restart_the_others() -> None:
    failed = with_line(state="failed", failure="rtsp://a:b@c")

    assert liveness(failed).ok
    assert readiness(failed).reasons == ("line bottles: it ended with an error",)


@pytest.mark.parametrize(("ping_s", "live"), [(990.0, True), (989.9, False), (None, False)])
def test_the_writer_of_the_store_must_have_answered(ping_s: float | None, live: bool) -> None:
    assert liveness(replace(FULL, store=StoreStatus(ping_s=ping_s))).ok is live


# Complaint 23: scoring does not depend on the disk
def test_a_full_disk_is_no_reason_for_a_restart() -> None:
    assert FULL.store is not None
    assert FULL.store.failing
    assert liveness(FULL).ok


# Complaint 30
def test_a_monitor_is_not_ready_before_each_golden_sample_has_passed() -> None:
    assert readiness(replace(FULL, lines=(LINE, replace(FULL.lines[1], golden=False)))).reasons == (
        "line caps: the golden sample of its model file has not passed yet",
    )


def test_a_monitor_without_lines_is_live_but_not_ready() -> None:
    assert liveness(replace(FULL, lines=())).ok
    assert readiness(replace(FULL, lines=())).reasons == ("no line is loaded yet",)


@given(statuses)
def test_a_ready_monitor_is_live_and_does_not_stop(status: ProcessStatus) -> None:
    if readiness(status).ok:
        assert liveness(status).ok
        assert not status.stopping
        assert all(line.golden and line.state != "failed" for line in status.lines)


@given(statuses, st.floats(0, 1000))
def test_time_alone_never_makes_a_monitor_live_again(status: ProcessStatus, later_s: float) -> None:
    if not liveness(status).ok:
        assert not liveness(replace(status, now_s=status.now_s + later_s)).ok


@given(statuses)
def test_lines_do_not_depend_on_each_other(status: ProcessStatus) -> None:
    alone = [liveness(replace(status, lines=(line,))).ok for line in status.lines]

    assert liveness(status).ok == (all(alone) and liveness(replace(status, lines=())).ok)


@given(statuses)
def test_a_stop_never_makes_a_live_monitor_dead(status: ProcessStatus) -> None:
    if liveness(status).ok:
        assert liveness(replace(status, stopping=True)).ok


@given(statuses, texts)
def test_no_text_of_an_error_or_address_is_among_the_reasons(status: ProcessStatus, text: str) -> None:
    marked = replace(
        status,
        lines=tuple(replace(line, failure=text, reload_error=text, source=text, model=text) for line in status.lines),
        store=status.store and replace(status.store, failing=text),
    )

    assert readiness(marked) == readiness(status)
