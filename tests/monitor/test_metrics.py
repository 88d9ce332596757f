"""The metrics are complete, exact, and have a number of series that depends on the configuration only."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from tests.monitor.statuses import FULL, LINE, counters, latencies

from andon.monitor.counters import Counters
from andon.monitor.metrics import exposition
from andon.monitor.status import LATENCY_BUCKETS_S, Latency, OutputStatus, ProcessStatus


def samples(status: ProcessStatus) -> list[Sample]:
    text, _ = exposition(status)
    return [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]


def total(found: list[Sample], name: str, **labels: str) -> float:
    return sum(one.value for one in found if one.name == name and labels.items() <= one.labels.items())


def test_the_page_of_metrics_is_the_golden_one(golden_text: Callable[[str, str], None]) -> None:
    text, content_type = exposition(FULL)

    golden_text("metrics.txt", text.decode())
    assert content_type.startswith("text/plain; version=")


# Complaint 8
@given(counters())
def test_grabbed_is_the_sum_of_judged_invalid_and_dropped_over_their_labels(drawn: Counters) -> None:
    found = samples(replace(FULL, lines=(replace(LINE, counters=drawn),)))

    parts = [total(found, f"andon_items_{part}_total", line="bottles") for part in ("judged", "invalid", "dropped")]
    assert parts == [drawn.judged, drawn.invalid, drawn.dropped]
    assert total(found, "andon_items_grabbed_total", line="bottles") == sum(parts) == drawn.grabbed


@given(latencies)
def test_the_histogram_has_all_items_and_its_last_bucket_is_open(latency: Latency) -> None:
    found = samples(replace(FULL, lines=(replace(LINE, latency=latency),)))

    buckets = [one for one in found if one.name == "andon_latency_seconds_bucket"]
    assert [one.labels["le"] for one in buckets] == [*map(str, LATENCY_BUCKETS_S), "+Inf"]
    assert [one.value for one in buckets] == [sum(latency.counts[: at + 1]) for at in range(len(latency.counts))]
    assert total(found, "andon_latency_seconds_count") == sum(latency.counts)
    assert total(found, "andon_latency_seconds_sum") == latency.sum_s


# Complaint 29
def test_the_number_of_series_is_the_same_after_a_million_items() -> None:
    fresh = replace(
        FULL,
        lines=tuple(
            replace(line, counters=Counters(), latency=Latency(), last_outcome_s=0.0, reload_error="", restarts=0)
            for line in FULL.lines
        ),
    )
    used = replace(
        fresh,
        lines=tuple(
            replace(
                line,
                counters=Counters(
                    grabbed=10**6,
                    judged=10**6 - 2,
                    invalid=1,
                    dropped=1,
                    by_status={"OK": 10**6 - 2},
                    by_reason={"TORN": 1},
                    by_drop={"busy": 1},
                ),
                restarts=900,
                reload_error="x" * 500,
            )
            for line in fresh.lines
        ),
    )

    def series(status: ProcessStatus) -> list[tuple[str, frozenset[tuple[str, str]]]]:
        return [(one.name, frozenset(one.labels.items())) for one in samples(status)]

    assert series(fresh) == series(used)
    assert len(set(series(used))) == len(series(used)) < 100 * len(used.lines)


# Complaint 29
def test_only_names_from_the_configuration_and_closed_sets_become_labels() -> None:
    canary = "part-4711 /data/a.png 9f8e7d6c5b4a"
    marked = replace(
        FULL,
        run=canary,
        lines=tuple(
            replace(
                line,
                source=canary,
                model=canary,
                model_name=canary,
                failure=canary,
                reload_error=canary,
                counters=Counters(
                    grabbed=3,
                    judged=1,
                    invalid=1,
                    dropped=1,
                    by_status={canary: 1},
                    by_reason={canary: 1},
                    by_drop={canary: 1},
                ),
            )
            for line in FULL.lines
        ),
        store=FULL.store and replace(FULL.store, failing=canary),
        outputs=tuple(replace(output, failing=canary) for output in FULL.outputs),
        controllers=tuple(replace(controller, failing=canary) for controller in FULL.controllers),
    )

    text, _ = exposition(marked)

    assert canary not in text.decode()
    assert "4711" not in text.decode()
    assert {key for one in samples(marked) for key in one.labels} == {
        "version", "line", "status", "reason", "state", "alarm", "chart", "output", "controller", "le", "result",
    }  # fmt: skip
    assert total(samples(marked), "andon_items_judged_total", status="other") == len(FULL.lines)


@given(st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable()))
def test_any_name_of_an_output_gives_a_readable_page(name: str) -> None:
    found = samples(replace(FULL, outputs=(OutputStatus(name=name, kind="mqtt", backlog=1),)))

    assert [one.labels for one in found if one.name == "andon_output_backlog"] == [{"output": name}]


def test_metrics_that_other_libraries_register_are_not_shown() -> None:
    assert all(one.name.startswith("andon_") for one in samples(FULL))
