"""Each route has a declared right, and only who has the right gets an answer or changes something. Complaint 26."""

import ast
import inspect
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.monitor.statuses import FULL
from tests.monitor.web.asgi import request
from tests.monitor.web.pages import ACT, FORM, JSON, ORIGIN, VIEW, Line, Site, bearer, protected
from tests.sources.fake_clock import FakeClock

from andon.foundation.secret import Secret
from andon.monitor.web import access as access_module
from andon.monitor.web.access import digest, same
from andon.monitor.web.app import routes_of, web_app
from andon.monitor.web.guard import LONGEST_PATH
from andon.monitor.web.rate_limit import MOST_AT_ONCE
from andon.monitor.web.rights import LONGEST_BODY, acts, right_of, views
from andon.monitor.web.sessions import SESSION_S
from andon.monitor.web.settings import WebSettings

pytestmark = pytest.mark.usefixtures("tokens")
ELSEWHERE = ("Origin", "https://evil.example")


def test_each_route_of_the_server_has_a_declared_right() -> None:
    routes = routes_of(web_app(lambda: FULL, WebSettings(), FakeClock(), routes=Line().routes()))

    assert len(routes) > 8
    assert {(vars(route)["path"], right_of(route)) for route in routes if right_of(route) in ("anyone", "health")} == {
        ("/livez", "health"),
        ("/readyz", "health"),
        ("/login", "anyone"),
        ("/logout", "anyone"),
        ("/login.css", "anyone"),
        ("/login.svg", "anyone"),
    }
    assert all(right_of(route) is not None for route in routes)


def test_a_route_without_a_declared_right_is_not_served(caplog: pytest.LogCaptureFixture) -> None:
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def forgotten(_request: object) -> PlainTextResponse:
        return PlainTextResponse("secret")

    site = Site()
    site.app = web_app(lambda: FULL, site.settings, site.clock, routes=[Route("/forgotten", forgotten)])

    assert site.get("/forgotten", bearer(ACT)).status == 404
    assert "expected a declared right, found none. The route is not served." in caplog.text


def test_viewing_cannot_be_declared_for_a_change_and_no_right_twice() -> None:
    from starlette.routing import Route

    async def endpoint(_request: object) -> None: ...

    with pytest.raises(ValueError, match="expected the methods GET and HEAD only, got"):
        views(Route("/", endpoint, methods=["POST"]))
    with pytest.raises(ValueError, match="expected a route without a declared right"):
        acts(views(Route("/", endpoint)))


def test_the_act_token_opens_everything_and_the_view_token_only_reading() -> None:
    site = Site()

    assert site.get("/", bearer(VIEW)).status == site.get("/", bearer(ACT)).status == 200
    assert site.shelve(bearer(VIEW)).status == 403
    assert site.shelve().status == 401
    assert site.line.shelved == []
    assert site.shelve(bearer(ACT)).status == 200
    assert site.line.shelved == [5]


def test_on_loopback_everyone_can_view_but_acting_needs_the_act_token() -> None:
    site = Site(WebSettings(act_token=Secret(env="ANDON_TEST_ACT")))

    assert site.get("/", client="127.0.0.1").status == 200
    assert site.shelve(client="127.0.0.1").status == 401
    assert site.shelve(bearer(VIEW), client="127.0.0.1").status == 401
    assert site.shelve(bearer(ACT), client="127.0.0.1").status == 200
    assert site.person(ACT).csrf[1] != ""


def test_without_an_act_token_nothing_can_be_changed() -> None:
    for settings in (WebSettings(), WebSettings(view_token=Secret(env="ANDON_TEST_VIEW"))):
        site = Site(settings)
        for headers in ((), (bearer(VIEW),), (bearer(ACT),), (bearer(""),)):
            assert site.shelve(*headers, client="127.0.0.1").status == 403
        assert site.line.shelved == []


def test_a_person_acts_with_the_session_and_the_csrf_text_of_the_page() -> None:
    site = Site()
    person = site.person(ACT)

    assert person.shelve(person.csrf, ORIGIN, ("Sec-Fetch-Site", "same-origin")).status == 200
    assert site.line.shelved == [5]


# A page of another site makes the browser of a person who has logged in send requests. SameSite=Strict stops the cookie already.
@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("X-Andon-CSRF", ""),),
        (("X-Andon-CSRF", "undefined"),),
        (("X-Andon-CSRF", ACT),),
    ],
)
def test_a_session_without_the_csrf_text_changes_nothing(headers: tuple[tuple[str, str], ...]) -> None:
    site = Site()

    assert site.person(ACT).shelve(*headers).status == 403
    assert site.line.shelved == []


def test_the_csrf_text_of_another_session_is_refused() -> None:
    site = Site()
    one, other = site.person(ACT), site.person(ACT)

    assert one.shelve(other.csrf).status == 403
    assert one.shelve(one.csrf).status == 200


@pytest.mark.parametrize(
    "header",
    [
        ELSEWHERE,
        ("Origin", "null"),
        ("Origin", "http://127.0.0.1:3000"),
        ("Origin", "https://127.0.0.1:8420"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Site", "none"),
    ],
)
def test_a_change_that_another_site_causes_is_refused_with_session_and_with_token(header: tuple[str, str]) -> None:
    site = Site()
    person = site.person(ACT)

    assert person.shelve(person.csrf, header).status == 403
    assert site.shelve(bearer(ACT), header).status == 403
    assert site.log_in(ACT, header).status == 403
    assert site.line.shelved == []


def test_another_site_cannot_use_up_the_login_attempts_of_an_address() -> None:
    site = Site()
    for _ in range(20):
        assert site.log_in("wrong", ELSEWHERE).status == 403
    assert site.log_in(ACT).status == 303


def test_another_site_cannot_embed_a_page_even_if_everyone_can_view() -> None:
    site = Site(WebSettings())

    assert site.get("/status", ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")).status == 403
    assert site.get("/status", ELSEWHERE).status == 403
    link = (("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"))
    assert site.get("/", *link).status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonp"]
)
def test_a_change_in_a_form_that_html_can_send_is_refused(kind: str) -> None:
    site = Site()
    person = site.person(ACT)
    for headers in ((bearer(ACT),), (person.cookie, person.csrf)):
        answer = site.post("/shelve", ("Content-Type", kind), *headers, body=b'{"minutes": 5}')
        assert answer.status == 415
    assert site.line.shelved == []


@pytest.mark.parametrize("path", ["/shelve", "/shelve?minutes=5", "/shelve?_method=POST"])
def test_reading_an_address_never_changes_something(path: str) -> None:
    site = Site()
    for method in (("X-HTTP-Method-Override", "POST"), ("X-HTTP-Method", "POST")):
        assert site.get(path, bearer(ACT), method).status == 405
    assert site.line.shelved == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"minutes": 0}', b'{"minutes": 1e99}', b'{"minutes": "5"}', b'{"minutes": 5, "x": 1}',
     b"[" * 60_000, b"\xff\xfe", b'{"minutes": 5}{', b'{"minutes": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_a_body_of_another_form_is_400_and_changes_nothing(body: bytes) -> None:
    site = Site()

    assert site.shelve(bearer(ACT), body=body).status == 400
    assert site.line.shelved == []


def test_a_body_without_a_true_length_is_limited_while_it_is_read() -> None:
    site = Site()

    assert site.shelve(bearer(ACT), body=b" " * LONGEST_BODY).status == 400
    assert site.shelve(bearer(ACT), body=b" " * (LONGEST_BODY + 1)).status == 413


def test_changes_are_limited_for_each_session_and_not_for_the_address() -> None:
    site = Site()
    one, other = site.person(ACT), site.person(ACT)
    csrf = one.csrf

    assert [one.shelve(csrf).status for _ in range(MOST_AT_ONCE + 2)] == [200] * MOST_AT_ONCE + [429] * 2
    assert one.shelve(csrf).headers["retry-after"] == "1"
    assert other.shelve(other.csrf).status == 200
    site.clock.now_s = 1.0
    assert one.shelve(csrf).status == 200


def test_strangers_cannot_stop_a_person_with_the_same_address() -> None:
    site = Site()
    person = site.person(ACT)
    for _ in range(100):
        site.log_in("wrong")
        site.get("/", bearer("wrong"))

    assert site.get("/", bearer(VIEW)).status == 429
    assert person.shelve(person.csrf).status == 200


def test_five_wrong_tokens_block_both_ways_of_giving_one() -> None:
    site = Site()
    statuses = [site.log_in("wrong").status, *(site.get("/", bearer("wrong")).status for _ in range(4))]

    assert statuses == [401] * 5
    assert site.log_in(ACT).status == 429
    assert site.get("/", bearer(ACT)).status == 429
    assert site.log_in(ACT, client="10.0.0.8").status == 303


def test_memory_stays_bounded_under_guesses_from_many_addresses() -> None:
    site = Site()
    control = vars(site.app)["_control"]
    for number in range(3000):
        address = f"10.1.{number >> 8}.{number & 255}"
        site.log_in("wrong", client=address)
        site.get("/", ("Cookie", f"andon-8420=guess{number}"), client=address)

    assert len(control.failures) == len(control.rate) == 1024
    assert len(control.sessions) == 0


def test_a_replaced_token_ends_the_sessions_that_it_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    actor, viewer = site.person(ACT), site.person(VIEW)
    csrf = actor.csrf
    monkeypatch.setenv("ANDON_TEST_ACT", "another token " * 3)
    monkeypatch.setenv("ANDON_TEST_ACT", "00112233445566778899aabbccddeeff")

    assert site.get("/", actor.cookie).status == 401
    assert actor.shelve(csrf).status == 401
    assert site.get("/", viewer.cookie).status == 200


def test_a_token_that_cannot_be_read_closes_acting_with_503(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site()
    person = site.person(ACT)
    csrf = person.csrf
    monkeypatch.delenv("ANDON_TEST_ACT")

    assert person.shelve(csrf).status == 503
    assert site.shelve(bearer(ACT)).status == 503
    assert site.get("/", bearer(VIEW)).status == 200
    assert sum("ANDON_TEST_ACT" in record.getMessage() for record in caplog.records) == 1


def test_two_equal_tokens_close_acting(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    monkeypatch.setenv("ANDON_TEST_ACT", VIEW)

    assert site.shelve(bearer(VIEW)).status == 503
    assert site.line.shelved == []


def test_a_stream_ends_with_the_session_of_its_viewer() -> None:
    site = Site()
    person = site.person(VIEW)
    site.clock.now_s = SESSION_S
    assert site.get("/stream", person.cookie).status == 401

    person, lines = site.person(VIEW), 3

    def tick() -> None:
        nonlocal lines
        lines -= 1
        if lines == 0:
            site.clock.now_s = 2 * SESSION_S

    site.line.on_tick = tick
    assert site.get("/stream", person.cookie).text == "data: 1\n\n" * 3


def test_a_browser_without_a_session_is_sent_to_the_login_and_a_program_is_not() -> None:
    site = Site()
    answer = site.get("/", ("Accept", "text/html,*/*"))

    assert (answer.status, answer.headers["location"]) == (303, "/login")
    assert site.get("/nothing", ("Accept", "text/html")).status == 303
    assert site.get("/", ("Accept", "application/json")).status == 401
    assert site.get("/", ("Accept", "text/html"), bearer("wrong")).status == 401


def test_strangers_do_not_learn_which_paths_and_methods_exist() -> None:
    site = Site()
    answers = [
        site.get("/nothing"),
        site.get("/"),
        site.get("/evidence/7"),
        site.get("/evidence/8"),
        site.get("/shelve"),
    ]

    assert answers == [answers[0]] * 5
    assert answers[0].status == 401
    assert site.get("/evidence/8", bearer(VIEW)).text == "no such evidence\n"


def test_an_endpoint_cannot_weaken_the_security_headers() -> None:
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def weak(_request: object) -> PlainTextResponse:
        headers = {
            "Content-Security-Policy": "default-src *",
            "X-Content-Type-Options": "",
            "Cache-Control": "no-cache",
        }
        return PlainTextResponse("x", headers=headers)

    site = Site()
    site.app = web_app(lambda: FULL, site.settings, site.clock, routes=[views(Route("/weak", weak))])
    found = site.get("/weak", bearer(VIEW)).headers

    assert found["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert found["x-content-type-options"] == "nosniff"
    assert found["cache-control"] == "no-cache"


def test_a_view_token_alone_behind_a_proxy_leaves_the_page_read_only() -> None:
    settings = replace(protected(), behind_proxy=True, act_token=None)
    site = Site(settings)

    assert site.shelve(bearer(VIEW), ("X-Forwarded-For", "10.0.0.9")).status == 403


@pytest.mark.parametrize("kind", [JSON, FORM])
def test_a_browser_form_with_json_in_it_does_not_pass_for_a_login(kind: tuple[str, str]) -> None:
    answer = Site().post("/login", kind, body=b'{"token": "' + ACT.encode() + b'"}')

    assert answer.status in (401, 415)
    assert "set-cookie" not in answer.headers


def test_tokens_are_compared_in_one_place_by_digests_of_one_length() -> None:
    """Find `==` and `in` between secrets in the code: only `same` may compare them."""
    tree = ast.parse(inspect.getsource(access_module))
    compared = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Compare)]

    assert compared == [text for text in compared if not {"given", "view", "act", "token", "digest"} & set(text.split())
                        or " is " in text]  # fmt: skip
    assert "hmac.compare_digest" in inspect.getsource(same)


@pytest.mark.timing
def test_the_time_of_a_comparison_does_not_show_how_much_of_a_token_is_right() -> None:
    right = b"a" * 2_000_000
    early, late = b"b" + right[1:], right[:-1] + b"b"
    expected = digest(right)

    def fastest_s(given: bytes) -> float:
        times = []
        for _ in range(15):
            began_s = time.perf_counter()
            assert not same(digest(given), expected)
            times.append(time.perf_counter() - began_s)
        return min(times)

    assert 0.8 < fastest_s(early) / fastest_s(late) < 1.25


def test_the_page_for_logging_in_is_a_file_of_the_package() -> None:
    folder = Path(inspect.getfile(access_module)).parent
    for name in ("templates/login.html", "login.css", "login.svg"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "<script" not in text
        assert "style=" not in text
        assert "<style" not in text
        assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_an_endpoint_that_accepts_all_methods_and_paths_gets_only_safe_ones() -> None:
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount

    seen = []

    async def everything(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["method"], scope["path"]))
        await PlainTextResponse("x")(scope, receive, send)

    site = Site()
    site.app = web_app(lambda: FULL, site.settings, site.clock, routes=[acts(Mount("/all", everything))])
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "post", "BREW"):
        answer = request(site.app, "/all/x", method=method, headers=(bearer(ACT), JSON))
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    for path in ("../x", "a/..", "./x", "..", "a\\b", "a\0b", "a\nb", "ä", "%2e%2e", "a" * LONGEST_PATH, "a;b", "<a>"):
        assert site.get(f"/all/{path}", bearer(ACT)).status == 404
    assert seen == []
    for path in ("press-3", "a.b", "..a", "a..", "a b"):
        assert site.get(f"/all/{path}", bearer(ACT)).status == 200
    assert len(seen) == 5


def test_a_number_of_five_thousand_digits_is_not_an_internal_error() -> None:
    assert Site().get("/evidence/" + "9" * 5000, bearer(VIEW)).status == 404
