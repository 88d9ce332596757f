"""People log in with a token and get a cookie that scripts, other sites and plain http cannot use."""

import re

import pytest
from tests.monitor.web.asgi import request
from tests.monitor.web.pages import ACT, FORM, ORIGIN, VIEW, Site, protected

from andon.monitor.web.sessions import MOST_SESSIONS, SESSION_S
from andon.monitor.web.settings import WebSettings

pytestmark = pytest.mark.usefixtures("tokens")


def test_the_page_has_no_inline_script_or_style_and_keeps_its_origin() -> None:
    answer = Site().get("/login")

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "<script" not in answer.text
    assert not re.search(r"\son\w+=|\sstyle=|<style", answer.text)
    assert '<label for="token">' in answer.text
    # password managers, and Chromium's console, expect a field for the name of the user in each form with a password
    assert '<input id="name" name="name" type="text" autocomplete="username"' in answer.text
    assert Site().get("/login.css").headers["content-type"].startswith("text/css")


def test_a_right_token_sets_a_cookie_for_http_on_this_machine() -> None:
    answer = Site().log_in(ACT, ORIGIN)

    assert (answer.status, answer.headers["location"]) == (303, "/")
    name, _, rest = answer.headers["set-cookie"].partition("=")
    identifier, *attributes = rest.split("; ")
    assert name == "andon-8420"
    assert len(identifier) >= 43
    assert attributes == ["Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"]
    assert ACT not in str(answer)


def test_with_tls_or_a_proxy_the_cookie_is_never_sent_by_http() -> None:
    site = Site(protected(behind_proxy=True))
    cookie = site.log_in(ACT).headers["set-cookie"]

    # browsers accept a name with this prefix from https only, and without Domain: http cannot replace it (session fixation)
    assert cookie.startswith("__Host-andon-8420=")
    assert cookie.endswith("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure")
    plain = cookie.partition(";")[0].removeprefix("__Host-")
    assert site.get("/", ("Cookie", plain)).status == 401
    assert site.get("/", ("Cookie", f"__Host-{plain}")).status == 200


@pytest.mark.parametrize("token", ["", "guess-7f3a", ACT.upper(), f"{ACT}x", ACT[:-1], f"{ACT}\0", "ü" * 32, "\ud800"])
def test_a_wrong_token_is_401_without_a_cookie_and_is_not_shown(token: str) -> None:
    site = Site()
    body = b"token=" + "".join(f"%{byte:02x}" for byte in token.encode("utf-8", "surrogatepass")).encode()
    answer = site.post("/login", FORM, body=body)

    assert answer.status == 401
    assert "The token is wrong." in answer.text
    assert "set-cookie" not in answer.headers
    assert not token or token not in answer.text


def test_spaces_around_a_pasted_token_do_not_matter() -> None:
    assert Site().log_in(f" {VIEW}\r\n").status == 303


# Session fixation: an attacker plants an identifier that he knows
def test_an_identifier_from_the_client_is_never_used_for_a_session() -> None:
    site = Site()
    planted = ("Cookie", "andon-8420=planted-by-the-attacker")
    answer = site.log_in(ACT, planted)

    assert "planted" not in answer.headers["set-cookie"]
    assert site.get("/", planted).status == 401


def test_a_login_ends_the_session_that_the_browser_had_before() -> None:
    site = Site()
    viewer = site.person(VIEW)
    answer = site.log_in(ACT, viewer.cookie)

    assert answer.status == 303
    assert site.get("/", viewer.cookie).status == 401


def test_two_cookies_of_one_name_are_refused_because_one_may_be_planted() -> None:
    site = Site()
    cookie = site.person(ACT).cookie[1]

    assert site.get("/", ("Cookie", f"{cookie}; andon-8420=planted")).status == 401
    assert site.get("/", ("Cookie", "andon-8420=planted"), ("Cookie", cookie)).status == 401
    assert site.get("/", ("Cookie", f"other=1; {cookie}; more=2")).status == 200


def test_a_monitor_on_another_port_has_another_cookie() -> None:
    assert Site().log_in(ACT).headers["set-cookie"].startswith("andon-8420=")
    settings = protected(behind_proxy=True)
    assert Site(settings).log_in(ACT).headers["set-cookie"].startswith("__Host-andon-8420=")


def test_the_page_shows_who_is_logged_in_and_logs_out() -> None:
    site = Site()
    person = site.person(ACT, name='<b>Ada</b> "L"')
    page = site.get("/login", person.cookie)
    csrf = re.search('name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None
    assert "&lt;b&gt;Ada&lt;/b&gt; &#34;L&#34; is logged in and can view and act." in page.text
    assert "<b>Ada" not in page.text

    assert site.post("/logout", FORM, person.cookie, body=b"csrf=wrong").status == 403
    assert site.get("/", person.cookie).status == 200
    answer = site.post("/logout", FORM, person.cookie, body=f"csrf={csrf[1]}".encode())
    assert answer.status == 303
    assert answer.headers["set-cookie"].startswith("andon-8420=; Path=/; Max-Age=0;")
    assert site.get("/", person.cookie).status == 401


def test_a_person_who_can_only_view_is_offered_the_login_for_acting() -> None:
    site = Site()
    offered = '<label for="token">'

    assert offered in site.get("/login", site.person(VIEW).cookie).text
    assert offered not in site.get("/login", site.person(ACT).cookie).text


def test_a_session_lasts_twelve_hours() -> None:
    site = Site()
    person = site.person(VIEW)
    site.clock.now_s = SESSION_S - 1
    assert site.get("/", person.cookie).status == 200
    site.clock.now_s = SESSION_S
    assert site.get("/", person.cookie).status == 401


def test_very_many_logins_keep_a_bounded_number_of_sessions() -> None:
    site = Site()
    for number in range(3 * MOST_SESSIONS):
        site.clock.now_s += 2
        assert site.log_in(VIEW, client=f"10.0.1.{number}").status == 303
    assert len(vars(site.app)["_control"].sessions) == MOST_SESSIONS


def test_a_server_without_tokens_explains_that_it_needs_none() -> None:
    site = Site(WebSettings())

    assert "acting is switched off" in site.get("/login", client="127.0.0.1").text
    assert site.log_in(ACT, client="127.0.0.1").status == 403


@pytest.mark.parametrize(
    "body", [b"\xff=\xff", b"&" * 60_000, b"a=1&" * 5000, b"token", b"=" * 100, b"token[]=x", b"%", b"%00%0d%0a=%"]
)
def test_a_strange_form_is_refused_without_an_error(body: bytes) -> None:
    assert Site().post("/login", FORM, body=body).status in (401, 415)


def test_a_name_cannot_break_out_of_a_header_or_a_page() -> None:
    site = Site()
    person = site.person(VIEW, name="x\r\nSet-Cookie: a=b\r\n\r\n<script>alert(1)</script>" * 5)
    page = site.get("/login", person.cookie)

    assert "<script" not in page.text
    assert "a=b" not in str(page.headers)


def test_reading_the_path_for_logging_out_does_not_log_out() -> None:
    site = Site()
    person = site.person(VIEW)

    assert request(site.app, "/logout", headers=(person.cookie,)).status == 405
    assert site.get("/", person.cookie).status == 200
