"""The web application answers health checks and scrapes, changes nothing, and gives nothing to strangers. Complaint 26."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.monitor.statuses import FULL, with_line
from tests.monitor.web.asgi import request
from tests.sources.fake_clock import FakeClock

from andon.foundation.secret import Secret
from andon.monitor.metrics import exposition
from andon.monitor.status import ProcessStatus
from andon.monitor.status_json import status_json
from andon.monitor.web.app import web_app
from andon.monitor.web.guard import SECURITY_HEADERS
from andon.monitor.web.rights import LONGEST_BODY
from andon.monitor.web.settings import WebSettings

TOKEN = "0123456789abcdef" * 2
PATHS = ("/metrics", "/livez", "/readyz", "/status")
BEARER = (("Authorization", f"Bearer {TOKEN}"),)
WRONG = (("Authorization", f"Bearer {TOKEN.upper()}"),)
SICK = with_line(last_outcome_s=900.0)


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch) -> WebSettings:
    monkeypatch.setenv("ANDON_TEST_VIEW", TOKEN)
    return WebSettings(
        host="0.0.0.0", allowed_hosts=("line1.example",), behind_proxy=True, view_token=Secret(env="ANDON_TEST_VIEW")
    )


def app(status: ProcessStatus = FULL, settings: WebSettings | None = None, clock: FakeClock | None = None) -> object:
    return web_app(lambda: status, settings or WebSettings(), clock or FakeClock())


def test_a_healthy_monitor_answers_all_paths() -> None:
    assert request(app(), "/livez")[::2] == (200, "live\n")
    assert request(app(), "/readyz")[::2] == (200, "ready\n")
    assert request(app(), "/metrics").text.encode() == exposition(FULL)[0]
    assert request(app(), "/metrics").headers["content-type"] == exposition(FULL)[1]
    assert request(app(), "/status").text.encode() == status_json(FULL)
    assert request(app(), "/status").headers["content-type"] == "application/json"


def test_a_monitor_that_is_not_live_answers_503_with_the_reason() -> None:
    for path, word in (("/livez", "live"), ("/readyz", "ready")):
        answer = request(app(SICK), path)
        assert answer.status == 503
        assert answer.text == (
            f"not {word}\nline bottles: it runs, but has not judged an item for 100.0 s (limit 2 s)\n"
        )


def test_an_answer_is_computed_at_most_once_a_second_for_all_clients() -> None:
    calls, clock = [], FakeClock()

    def status() -> ProcessStatus:
        calls.append(clock.now_s)
        return replace(FULL, clock_epoch=len(calls))

    one = web_app(status, WebSettings(), clock)
    for _ in range(5):
        for path in PATHS:
            request(one, path)
    assert calls == [0.0]
    clock.now_s = 1.0
    assert "andon_clock_steps_total 2.0" in request(one, "/metrics").text


@pytest.mark.parametrize("path", [*PATHS, "/", "/nothing", "/status/", "/../etc/passwd"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_these_paths_can_only_be_read_and_every_answer_has_the_security_headers(path: str, method: str) -> None:
    answer = request(app(), path, method=method)

    known = 200 if method in ("GET", "HEAD") else 405
    unknown = 404 if method in ("GET", "HEAD", "POST") else 405
    assert answer.status == (known if path in PATHS else unknown)
    assert SECURITY_HEADERS.items() <= answer.headers.items()
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8420", 200),
        ("localhost", 200),
        ("LOCALHOST:9", 200),
        ("[::1]:8420", 200),
        ("rebound.example", 421),
        ("rebound.example:8420", 421),
        ("127.0.0.1.rebound.example", 421),
        ("localhost:8420@rebound.example", 421),
        ("localhost:", 421),
        ("", 421),
        (None, 421),
    ],
)
def test_a_name_that_is_not_the_servers_is_refused(host: str | None, status: int) -> None:
    assert request(app(), "/status", host=host).status == status


def test_two_host_headers_are_refused() -> None:
    assert request(app(), "/status", headers=(("Host", "rebound.example"),)).status == 421


def test_a_name_with_a_port_stands_for_this_port_only() -> None:
    settings = WebSettings(allowed_hosts=("Line1.example:9000", "line2.example"))
    for host, status in (("line1.example:9000", 200), ("line1.example:1", 421), ("line2.example:1", 200)):
        assert request(app(settings=settings), "/livez", host=host).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((("Content-Length", str(LONGEST_BODY)),), 200),
        ((("Content-Length", str(LONGEST_BODY + 1)),), 413),
        ((("Content-Length", "9" * 30),), 413),
        ((("Content-Length", "-1"),), 413),
        ((("Transfer-Encoding", "chunked"),), 413),
    ],
)
def test_a_large_or_endless_body_is_refused(headers: tuple[tuple[str, str], ...], status: int) -> None:
    assert request(app(), "/livez", headers=headers).status == status


def test_the_token_opens_everything_and_nothing_else_does(with_token: WebSettings) -> None:
    one = app(settings=with_token)
    for path in PATHS:
        assert request(one, path, host="line1.example", client="10.0.0.9", headers=BEARER).status == 200
        answer = request(one, path, host="line1.example", client="10.0.0.9")
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.text == "expected the view token as Authorization: Bearer TOKEN\n"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
        "Bearer é",
        f"Bearer {TOKEN} x",
    ],
)
def test_a_token_that_is_not_exactly_right_is_refused(given: str, with_token: WebSettings) -> None:
    assert request(app(settings=with_token), "/status", headers=(("Authorization", given),)).status == 401


def test_the_token_in_the_address_is_not_accepted(with_token: WebSettings) -> None:
    assert request(app(settings=with_token), f"/status?token={TOKEN}").status == 401


def test_health_checks_on_this_machine_need_no_token_but_show_no_reasons(with_token: WebSettings) -> None:
    one = app(SICK, with_token)

    assert request(one, "/livez")[::2] == (503, "not live\n")
    assert request(one, "/readyz")[::2] == (503, "not ready\n")
    assert "bottles" in request(one, "/livez", headers=BEARER).text
    assert request(one, "/metrics").status == request(one, "/status").status == 401


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_a_health_check_that_a_proxy_forwarded_needs_the_token(header: str, with_token: WebSettings) -> None:
    assert request(app(settings=with_token), "/livez", headers=((header, "127.0.0.1"),)).status == 401


def test_five_wrong_tokens_in_a_minute_block_the_address_but_not_others(with_token: WebSettings) -> None:
    clock = FakeClock()
    one = app(settings=with_token, clock=clock)

    def ask(address: str, headers: tuple[tuple[str, str], ...]) -> int:
        forwarded = ("X-Forwarded-For", f"6.6.6.6, {address}")
        return request(one, "/status", client="127.0.0.1", headers=(*headers, forwarded)).status

    assert [ask("10.0.0.9", WRONG) for _ in range(7)] == [401] * 5 + [429] * 2
    assert ask("10.0.0.9", BEARER) == 429  # also the right one: otherwise guessing could go on
    assert ask("10.0.0.8", BEARER) == 200
    clock.now_s = 59.0
    blocked = request(one, "/status", headers=(*BEARER, ("X-Forwarded-For", "10.0.0.9")))
    assert (blocked.status, blocked.headers["retry-after"]) == (429, "1")
    clock.now_s = 60.0
    assert ask("10.0.0.9", BEARER) == 200


def test_a_request_without_a_token_is_not_a_wrong_token(with_token: WebSettings) -> None:
    one = app(settings=with_token)

    assert [request(one, "/status").status for _ in range(20)] == [401] * 20
    assert request(one, "/status", headers=BEARER).status == 200


def test_a_client_cannot_choose_its_address_without_a_proxy(with_token: WebSettings) -> None:
    one = app(settings=replace(with_token, behind_proxy=False))

    tries = [
        request(one, "/status", headers=(*WRONG, ("X-Forwarded-For", f"10.0.0.{number}"))).status for number in range(7)
    ]
    assert tries == [401] * 5 + [429] * 2


@given(st.text(st.characters(codec="latin-1"), max_size=30))
def test_no_text_in_headers_causes_an_error(text: str) -> None:
    settings = WebSettings(view_token=Secret(env="PATH"), behind_proxy=True)  # PATH: any text that is long enough
    for name in ("Authorization", "X-Forwarded-For", "Content-Length", "Host"):
        answer = request(web_app(lambda: FULL, settings, FakeClock()), "/status", headers=((name, text),))
        assert answer.status in (401, 413, 421, 503)


def test_a_token_file_that_disappears_closes_the_server_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    one = app(settings=WebSettings(view_token=Secret(file=str(path))))
    assert request(one, "/status", headers=BEARER).status == 200
    path.unlink()

    assert [request(one, "/status", headers=BEARER).status for _ in range(3)] == [503] * 3
    assert request(one, "/livez").status == 200
    assert [
        record.getMessage().endswith("cannot be read: No such file or directory.") for record in caplog.records
    ] == [True]


def test_no_answer_contains_a_secret_that_was_revealed(
    with_token: WebSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = "c@nary pass/word-7f3a"
    monkeypatch.setenv("ANDON_TEST_CANARY", canary)
    Secret(env="ANDON_TEST_CANARY").reveal()
    leaky = replace(
        FULL,
        lines=tuple(
            replace(line, source=canary, model_name=canary, failure=canary, reload_error=f"x {canary}")
            for line in FULL.lines
        ),
        store=FULL.store and replace(FULL.store, failing=canary),
        outputs=tuple(replace(output, failing=f"mqtt://u:{canary}@h") for output in FULL.outputs),
    )

    texts = [str(request(app(leaky, with_token), path, headers=BEARER)) for path in PATHS]

    assert all("c@nary" not in text and "word-7f3a" not in text and TOKEN not in text for text in texts)
    assert msgspec.json.decode(request(app(leaky, with_token), "/status", headers=BEARER).text)["outputs"][0][
        "failing"
    ] == ("mqtt://***@h")
