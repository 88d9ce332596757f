"""The pages: what they show is escaped, evidence is found by numbers only, and each action needs the right to act."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.monitor.outcomes import some_outcome
from tests.monitor.some_event import some_event
from tests.monitor.statuses import FULL
from tests.monitor.web.asgi import Answer, request
from tests.monitor.web.pages import ACT, JSON, VIEW, bearer, protected
from tests.monitor.web.watched import Watched
from tests.sources.fake_clock import FakeClock

from andon.monitor.event import AlarmShelved, Confirmed, Event, Evidence, Recalibration, Rejected, Sampled
from andon.monitor.judging import Outcome
from andon.monitor.records import record
from andon.monitor.web.actions import ACTS
from andon.monitor.web.app import web_app
from andon.monitor.web.live import Live
from andon.monitor.web.pages import STATIC, page_routes
from andon.runtime.items import Ref
from andon.runtime.schema import Status

pytest.importorskip("starlette")
pytestmark = pytest.mark.usefixtures("tokens")

HOSTILE = "<img src=x onerror=alert(1)>"
JPEG = b"\xff\xd8\xff\xe0 a picture"


class Pages:
    """The application of a monitor with a line ``bottles`` that has one reject with evidence."""

    def __init__(self, folder: Path | None) -> None:
        clock = FakeClock(FULL.now_s)
        self.watched = Watched(clock, folder)
        live = Live(self.watched.status, self.watched, clock)
        self.app = web_app(self.watched.status, protected(), clock, routes=page_routes(self.watched, live))
        if self.watched.store is not None and folder is not None:
            reject = record(some_outcome(7, Status.REJECT, 3.5, ref=Ref(key=HOSTILE)))
            event = some_event(Rejected(verdict=reject), line="bottles")
            self.watched.store.put(event, ())
            name = f"2026/11/30/{event.key}-3.jpg"
            path = folder / "evidence" / name
            path.parent.mkdir(parents=True)
            path.write_bytes(JPEG)
            self.watched.store.evidence(event.key, 3, Evidence(name=name, moment="at"), len(JPEG))
            assert self.watched.store.flush(10.0)

    def store(self, event: Event) -> None:
        assert self.watched.store is not None
        self.watched.store.put(event, ())
        assert self.watched.store.flush(10.0)

    def ask(self, outcome: Outcome) -> None:
        """Store a question about a part of ``bottles``."""
        self.store(some_event(Sampled(verdict=record(outcome), one_in=20), line="bottles"))

    def get(self, path: str, token: str = VIEW) -> Answer:
        return request(self.app, path, headers=(bearer(token),))

    def act(self, name: str, body: object, token: str = ACT) -> Answer:
        headers = (JSON, bearer(token))
        return request(self.app, f"/act/{name}", method="POST", headers=headers, body=json.dumps(body).encode())


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    made = Pages(tmp_path / "state")
    yield made
    made.watched.close()


@pytest.fixture
def without_store() -> Pages:
    return Pages(None)


def test_each_page_is_html_without_inline_scripts_or_styles(pages: Pages) -> None:
    for path in ("/", "/lines/bottles", "/events/1", "/lines/bottles/confirm", "/lines/bottles/recalibration"):
        answer = pages.get(path)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "style=" not in answer.text
        assert "<style" not in answer.text
        assert not re.search(r"<[^>]*\son\w+=", answer.text)
        assert answer.text.count("<script") == 1
        assert '<script type="module" src="/static/page.js"></script>' in answer.text


def test_the_name_of_an_item_is_never_html(pages: Pages) -> None:
    answer = pages.get("/events/1")

    assert HOSTILE not in answer.text
    assert "&lt;img src=x onerror=alert(1)&gt;" in answer.text


def test_the_scripts_never_set_html() -> None:
    from andon.monitor.web.pages import static_file

    for name in STATIC:
        text = static_file(name).decode()
        assert not any(
            word in text for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
        )


def test_each_static_file_is_served_with_its_type(pages: Pages) -> None:
    for name, kind in STATIC.items():
        answer = pages.get(f"/static/{name}")
        assert (answer.status, answer.headers["content-type"]) == (200, kind)


def test_the_list_of_events_has_the_numbers_of_the_pictures(pages: Pages) -> None:
    (row,) = json.loads(pages.get("/lines/bottles/events").text)

    assert (row["seq"], row["kind"], row["pictures"]) == (1, "reject", [3])
    assert row["item"] == HOSTILE
    assert json.loads(pages.get("/lines/bottles/events?before=1").text) == []
    assert json.loads(pages.get("/lines/caps/events").text) == []


def test_without_a_store_the_list_of_events_is_empty_and_no_event_exists(without_store: Pages) -> None:
    assert json.loads(without_store.get("/lines/bottles/events").text) == []
    assert without_store.get("/events/1").status == 404
    assert without_store.get("/events/1/evidence/3").status == 404


def test_the_history_is_the_seconds_with_items(pages: Pages) -> None:
    pages.watched.views["bottles"].put(some_outcome(1, Status.REJECT, 2.5))

    assert json.loads(pages.get("/lines/bottles/history").text) == [[1000, 2.5, 2.5, 2.0, "REJECT", 1]]


def test_evidence_is_found_by_its_numbers(pages: Pages) -> None:
    answer = pages.get("/events/1/evidence/3")

    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.text.encode("latin-1") == JPEG


@pytest.mark.parametrize(
    "path",
    [
        "/events/1/evidence/0",
        "/events/2/evidence/3",
        "/events/1/evidence/..%2f..%2fevents.sqlite",
        "/events/1/evidence/../../events.sqlite",
        "/events/-1/evidence/3",
        "/events/1e0/evidence/3",
        "/events/99999999999999999999999999/evidence/3",
        f"/events/{'9' * 5000}",
        "/events/\u0661",
        "/lines/press",
        "/lines/press/live",
        "/lines/press/history",
        "/lines/press/events",
        "/lines/press/confirm",
        "/lines/press/question",
        "/lines/press/recalibration",
        "/lines/..",
        "/static/page.py",
        "/static/../texts.en.toml",
        "/templates/base.html",
    ],
)
def test_what_does_not_exist_is_404_and_no_file_is_read(path: str, pages: Pages) -> None:
    assert pages.get(path).status == 404


def test_each_route_of_the_page_needs_a_right(pages: Pages) -> None:
    for path in ("/", "/live", "/lines/bottles", "/lines/bottles/events", "/events/1/evidence/3", "/static/page.js"):
        assert request(pages.app, path).status in (303, 401)


def test_each_action_needs_the_right_to_act(pages: Pages) -> None:
    for name in ACTS:
        assert pages.act(name, {}, VIEW).status == 403
        assert request(pages.app, f"/act/{name}", headers=(bearer(ACT),)).status == 405

    assert (pages.watched.events, pages.watched.acknowledged) == ([], [])


def test_a_person_who_may_not_act_gets_no_buttons(pages: Pages) -> None:
    assert "data-act" not in pages.get("/lines/bottles", VIEW).text
    assert "data-act" in pages.get("/lines/bottles", ACT).text
    for path, mark in (("confirm", "data-answer"), ("recalibration", "data-propose")):
        assert mark not in pages.get(f"/lines/bottles/{path}", VIEW).text
        assert mark in pages.get(f"/lines/bottles/{path}", ACT).text


def test_a_question_never_shows_the_verdict_of_its_part_because_people_tend_to_agree_with_it(pages: Pages) -> None:
    pages.ask(some_outcome(8, Status.REJECT, 987.25))

    answer = pages.get("/lines/bottles/question")

    assert json.loads(answer.text) == {
        "sample": {"asked": 1, "good": 0, "defective": 0, "unclear": 0, "open": 1},
        "question": {"seq": 2, "at": json.loads(answer.text)["question"]["at"], "item": "line.mp4#8", "files": []},
    }
    for path in ("confirm", "events"):
        assert "987" not in pages.get(f"/lines/bottles/{path}").text
    assert "987" not in pages.get("/events/2").text


def test_questions_come_in_the_order_in_which_they_were_asked_and_an_answer_leads_to_the_next(pages: Pages) -> None:
    for seq in (8, 9):
        pages.ask(some_outcome(seq))

    def asked(after: int = 0) -> int | None:
        question = json.loads(pages.get(f"/lines/bottles/question?after={after}").text)["question"]
        return None if question is None else question["seq"]

    assert (asked(), asked(2), asked(3)) == (2, 3, None)
    assert pages.act("confirm-event", {"line": "bottles", "event": 2, "truth": "unclear", "by": "Ana"}).status == 200
    assert pages.act("confirm-event", {"line": "bottles", "event": 1, "truth": "unclear", "by": "Ana"}).status == 409
    (line, body) = pages.watched.events[-1]
    assert isinstance(body, Confirmed)
    pages.store(some_event(body, line=line))
    assert asked() == 3
    assert "1 of 2 questions" in pages.get("/lines/bottles/recalibration").text


def test_a_recalibration_without_answers_and_a_swap_without_a_proposal_are_refused(pages: Pages) -> None:
    line = {"line": "bottles", "by": "Ana"}

    assert pages.act("swap", line | {"digest": "0" * 64}).status == 409
    assert pages.act("propose", line).status == 200
    pages.watched.recalibration.close()  # waits for its end

    page = pages.get("/lines/bottles/recalibration", ACT).text
    assert "Refused: m.onnx: cannot be read: No such file or directory." in page
    assert [body for _, body in pages.watched.events] == [
        Recalibration(change="refused", by="Ana", reason="m.onnx: cannot be read: No such file or directory.")
    ]


def test_without_a_store_the_pages_about_confirmed_parts_say_what_is_missing(without_store: Pages) -> None:
    assert json.loads(without_store.get("/lines/bottles/question").text)["question"] is None
    assert "add a table [store]" in without_store.get("/lines/bottles/recalibration").text
    assert without_store.act("propose", {"line": "bottles", "by": "Ana"}).status == 409


def test_the_actions_reach_the_monitor(pages: Pages) -> None:
    line = {"line": "bottles", "by": "Ana"}
    pages.watched.views["bottles"].put(some_outcome(9))

    answers = [
        pages.act("acknowledge", line | {"alarm": "rejects", "number": 3}),
        pages.act("shelve", line | {"alarm": "rejects", "seconds": 60, "reason": "trial"}),
        pages.act("unshelve", line | {"alarm": "rejects"}),
        pages.act("confirm-item", line | {"seq": 9, "item": "line.mp4#9", "truth": "good"}),
        pages.act("confirm-event", line | {"event": 1, "truth": "defective"}),
    ]

    assert [answer.status for answer in answers] == [200] * 5
    assert pages.watched.acknowledged == [("bottles", "rejects", 3, "Ana")]
    shelved, unshelved, item, event = (body for _, body in pages.watched.events)
    assert shelved == AlarmShelved(alarm="rejects", change="shelved", seconds=60.0, reason="trial", by="Ana")
    assert unshelved == AlarmShelved(alarm="rejects", change="unshelved", by="Ana")
    assert isinstance(item, Confirmed)
    assert isinstance(event, Confirmed)
    assert (item.item, item.truth, event.event, event.truth) == ("line.mp4#9", "good", 1, "defective")


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("shelve", {"line": "bottles", "alarm": "rejects", "seconds": 28_801, "reason": "x", "by": "Ana"}, 409),
        ("shelve", {"line": "bottles", "alarm": "rejects", "seconds": 60, "reason": " ", "by": "Ana"}, 409),
        ("shelve", {"line": "bottles", "alarm": "rejects", "seconds": "60", "reason": "x", "by": "Ana"}, 400),
        ("acknowledge", {"line": "press", "alarm": "rejects", "number": 1, "by": "Ana"}, 409),
        ("acknowledge", {"line": "bottles", "alarm": "rejects", "number": -1, "by": "Ana"}, 400),
        ("acknowledge", {"line": "bottles", "alarm": "rejects", "number": 1, "by": "Ana", "more": 1}, 400),
        ("confirm-item", {"line": "bottles", "seq": 1, "item": "x", "truth": "unsure", "by": "Ana"}, 400),
        ("confirm-event", {"line": "bottles", "event": 99, "truth": "good", "by": "Ana"}, 409),
        ("acknowledge", [], 400),
        ("confirm-event", {"line": "bottles", "event": 1, "truth": "unsure", "by": "Ana"}, 400),
        ("propose", {"line": "press", "by": "Ana"}, 409),
        ("propose", {"line": "bottles", "by": " "}, 409),
        ("swap", {"line": "bottles", "digest": "../new.onnx", "by": "Ana"}, 400),
        ("swap", {"line": "bottles", "digest": "0" * 64, "by": "Ana"}, 409),
    ],
)
def test_a_wrong_action_is_refused_with_a_reason_and_has_no_effect(
    name: str, body: object, status: int, pages: Pages
) -> None:
    answer = pages.act(name, body)

    assert answer.status == status
    assert "expected" in answer.text.lower()
    assert (pages.watched.events, pages.watched.acknowledged) == ([], [])
