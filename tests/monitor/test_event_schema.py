"""Events for other programs: the JSON Schema in the documentation, and one golden file for each kind."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from andon.monitor.event import (
    AlarmChanged,
    AlarmShelved,
    Body,
    ClockStepped,
    Confirmed,
    Drifted,
    Event,
    EventsLost,
    Evidence,
    InvalidBegan,
    InvalidEnded,
    LateScore,
    ModelChanged,
    Recalibration,
    Rejected,
    RejectSignal,
    Sampled,
    SourceChanged,
    Started,
    Stopped,
    ToReview,
    decode,
    encode,
)
from andon.monitor.event_schema import event_schema
from andon.monitor.records import Record

_SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "event.schema.json"
_VERDICT = Record(
    seq=7,
    at="2026-11-30T12:00:00.000Z",
    item="line.mp4#120",
    unit="frame",
    time_s=4.8,
    status="REJECT",
    reason="",
    score=2.5,
    level=1.25,
    p_value=0.004,
    threshold=2.0,
    model="0f3a",
)
_INVALID = msgspec.structs.replace(
    _VERDICT, status="INVALID", reason="black", score=None, level=None, p_value=None, threshold=None, detail="black"
)
_BODIES: tuple[Body, ...] = (
    Rejected(verdict=_VERDICT),
    ToReview(verdict=msgspec.structs.replace(_VERDICT, status="REVIEW")),
    InvalidBegan(verdict=_INVALID),
    InvalidEnded(items=12, seconds=0.48),
    AlarmChanged(alarm="rejects", change="raised", number=3, text="press-3: 3 of the last 5 items are REJECT."),
    SourceChanged(state="retrying", detail="rtsp://camera/stream: no data for 2 s"),
    ModelChanged(before="0f3a", after="77b1"),
    Drifted(chart="scores", value=5.5, limit=5.0, crossed=True),
    ClockStepped(delta_s=-3600.0),
    RejectSignal(part="17", result="fired", late_s=0.002),
    LateScore(verdict=_VERDICT),
    EventsLost(where="store", number=501, detail="The disk was full or failed."),
    Started(version="0.1.0", lines=("press-3", "press-4")),
    Stopped(grabbed=100, judged=98, invalid=1, dropped=1),
    Confirmed(item="line.mp4#120", truth="good", by="shift A"),
    AlarmShelved(alarm="rejects", change="shelved", seconds=1800.0, reason="trial batch", by="shift A"),
    Sampled(verdict=_VERDICT, one_in=20),
    Recalibration(
        change="swapped",
        by="Ana",
        before="0f3a",
        after="77b1",
        promise_before="with 95 % confidence at most 1 % of good parts are rejected; from 300 parts",
        promise="with 95 % confidence at most 1 % of good parts are rejected; from 340 parts",
        threshold_before=2.0,
        threshold=1.9,
        parts=340,
        kept="washers.0f3a.onnx",
    ),
)
_KEY = "0123456789abcdef0123456789abcdef"


def _event(body: Body) -> Event:
    return Event(
        key=_KEY,
        seq=42,
        run="run-1",
        boot="boot-1",
        line="press-3",
        source="rtsp://camera/stream",
        model="0f3a",
        mono_ns=12_345_000_000,
        wall_us=1_796_040_000_000_000,
        clock_epoch=1,
        body=body,
        evidence=(Evidence(name=f"2026/11/30/{_KEY}-0.jpg", moment="at"),),
    )


@pytest.mark.parametrize("body", _BODIES, ids=lambda body: str(type(body).__struct_config__.tag))
def test_the_json_of_an_event_is_stable(body: Body, golden_text: Callable[[str, str], None]) -> None:
    event = _event(body)
    text = json.dumps(json.loads(encode(event)), indent=2) + "\n"

    golden_text(f"event-{event.kind}.json", text)

    kept = (Path(__file__).parent / "golden" / f"event-{event.kind}.json").read_bytes()
    assert decode(kept) == event


def test_each_kind_has_a_golden_file() -> None:
    kinds = {str(kind.__struct_config__.tag) for kind in Body.__args__}

    assert {_event(body).kind for body in _BODIES} == kinds


def test_the_schema_in_the_documentation_is_current(request: pytest.FixtureRequest) -> None:
    text = event_schema()
    if request.config.getoption("--renew-golden"):
        _SCHEMA.write_text(text, encoding="utf-8", newline="\n")

    assert text == _SCHEMA.read_text(encoding="utf-8"), "run pytest with --renew-golden and review the diff"


def test_the_schema_lists_each_kind_with_its_keys() -> None:
    schema = json.loads(event_schema())

    body = schema["$defs"]["Event"]["properties"]["body"]
    assert set(body["discriminator"]["mapping"]) == {_event(one).kind for one in _BODIES}
    assert schema["$ref"] == "#/$defs/Event"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "Random name, made once" in schema["$defs"]["Event"]["properties"]["key"]["description"]
