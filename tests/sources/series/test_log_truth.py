"""Labels of logs: faulty rows and windows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from andon.runtime.schema import Channel
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run
from andon.sources.series.log_truth import WindowTruth, events_of, window_truth
from andon.sources.series.windows import cut, window_spec


def labelled(faulty: list[bool], recovering: list[bool] | None = None, fault: list[str] | None = None) -> Log:
    rows = len(faulty)
    run = Run(
        name="a",
        times_s=np.arange(rows, dtype=np.float64),
        values=np.zeros((rows, 1), np.float32),
        faulty=np.array(faulty),
        recovering=None if recovering is None else np.array(recovering),
        fault=None if fault is None else np.array(fault),
    )
    found = FoundLogs(channels=(Channel(name="x"),), period_s=1.0, runs=1, rows=rows)
    return Log(found=found, runs=(run,))


@given(
    faulty=st.lists(st.booleans(), min_size=8, max_size=40),
    recovering=st.lists(st.booleans(), min_size=40, max_size=40),
    hop=st.integers(1, 5),
)
def test_a_window_is_defective_if_any_of_its_rows_is_faulty(
    faulty: list[bool], recovering: list[bool], hop: int
) -> None:
    log = labelled(faulty, recovering[: len(faulty)])
    spec = window_spec(log.found, 4, hop)
    refs = cut(log, spec).refs
    truth = window_truth(log, spec, refs)

    assert list(truth) == [ref.key for ref in refs]
    for ref in refs:
        end = int(ref.time_s or 0) + 1
        assert truth[ref.key].faulty == any(faulty[end - 4 : end])
        assert truth[ref.key].recovering == (any(recovering[end - 4 : end]) and not any(faulty[end - 4 : end]))


def test_a_window_names_the_faults_that_it_touches() -> None:
    fault = ["", "spike", "spike", "", "drift", "", "", ""]
    log = labelled([bool(name) for name in fault], fault=fault)
    spec = window_spec(log.found, 4, 2)

    assert list(window_truth(log, spec, cut(log, spec).refs).values()) == [
        WindowTruth(faulty=True, recovering=False, fault="spike", events=("a:0",)),
        WindowTruth(faulty=True, recovering=False, fault="drift", events=("a:0", "a:1")),
        WindowTruth(faulty=True, recovering=False, fault="drift", events=("a:1",)),
    ]


def test_another_name_without_a_pause_is_another_fault() -> None:
    log = labelled([True] * 4, fault=["spike", "spike", "drift", "drift"])

    assert events_of(log.runs[0]) == [("a:0", 0, 2), ("a:1", 2, 4)]


def test_runs_without_labels_have_no_truth() -> None:
    log = labelled([False] * 8)
    bare = Run(name="b", times_s=log.runs[0].times_s, values=log.runs[0].values)
    both = Log(found=log.found, runs=(*log.runs, bare))
    spec = window_spec(both.found, 4, 4)

    assert set(window_truth(both, spec, cut(both, spec).refs)) == {"a#3", "a#7"}
    assert window_truth(both, spec, cut(both, spec).refs)["a#3"].good
