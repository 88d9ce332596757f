"""Let people log in with a token, and log out. The page has no script, so that it works in every browser.

A right token begins a session. Its identifier is in a cookie that scripts cannot read, that other sites cannot use, and that is
sent by https only if the server has TLS or a proxy. The token itself is in the body of the form: never in an address or a cookie.
"""

import html
import math
import urllib.parse
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from andon.monitor.web.access import AccessControl
from andon.monitor.web.rights import access_of, answers_anyone
from andon.monitor.web.sessions import LONGEST_NAME, is_csrf_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

LOGIN_PATH = "/login"
LOGOUT_PATH = "/logout"
_MOST_FIELDS = 8
_FORM = f"""<form method="post" action="{LOGIN_PATH}">
<label for="name">Your name, for the record of what you do (optional)</label>
<input id="name" name="name" autocomplete="username" maxlength="{LONGEST_NAME}">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button>
</form>
<p class="hint">The view token shows the line. The act token also allows acting. A login ends after 12 hours.</p>"""
_TO_ACT = "<h2>To act, log in with the act token</h2>"
_OFF = """<p>This server has no tokens. Everyone on this machine can view it, and acting is switched off.</p>
<p class="hint">To act, make tokens with <code>andon token</code>.</p>
<p><a href="/">To the line</a></p>"""


def login_routes(control: AccessControl) -> "list[Route]":
    """Return the routes for logging in and out."""
    from starlette.responses import RedirectResponse, Response
    from starlette.routing import Route

    page = Template(_resource("login.html"))
    css, svg = _resource("login.css"), _resource("login.svg")

    def answer(content: str, message: str = "", status: int = 200, headers: dict[str, str] | None = None) -> "Response":
        shown = f'<p class="message" role="alert">{html.escape(message)}</p>' if message else ""
        text = page.substitute(message=shown, content=content)
        # without this, browsers send "Origin: null" with the form, and it looks like one of another site
        own = {"referrer-policy": "same-origin", **(headers or {})}
        return Response(text, status, own, media_type="text/html")

    async def show(request: "Request") -> "Response":
        session = access_of(request).session
        if session is not None:
            may_act = access_of(request).may_act
            form = _logout_form(session.csrf, session.name, may_act=may_act)
            return answer(form if may_act or control.settings.act_token is None else f"{form}\n{_TO_ACT}\n{_FORM}")
        return answer(_FORM if control.can_log_in else _OFF)

    async def log_in(request: "Request") -> "Response":
        if not control.can_log_in:
            return answer(_OFF, "There is nothing to log in to.", 403)
        fields = await _form(request)
        if fields is None:
            return answer(_FORM, "expected the form of this page, got other content", 415)
        token, name = fields.get("token", ""), fields.get("name", "")
        login = control.log_in(request.scope, request.headers, token, name)
        if login.broken:
            return answer(_FORM, "The token of the server cannot be read. See the log of the monitor.", 503)
        if login.wait_s > 0.0:
            wait_s = math.ceil(login.wait_s)
            again = {"retry-after": str(wait_s)}
            return answer(_FORM, f"Too many wrong tokens. Try again in {wait_s} seconds.", 429, again)
        if not login.identifier:
            return answer(_FORM, "The token is wrong.", 401)
        return RedirectResponse("/", 303, {"set-cookie": control.cookie(request.scope, login.identifier)})

    async def log_out(request: "Request") -> "Response":
        fields, session = await _form(request), access_of(request).session
        if fields is None:
            return answer("", "expected the form of the page for logging in, got other content", 415)
        if session is not None and not is_csrf_of(session, fields.get("csrf")):
            return answer("", "The form is out of date. Load the page again.", 403)
        control.log_out(request.scope, request.headers)
        return RedirectResponse(LOGIN_PATH, 303, {"set-cookie": control.cookie(request.scope, "")})

    async def style(_request: "Request") -> "Response":
        return Response(css, media_type="text/css")

    async def icon(_request: "Request") -> "Response":
        return Response(svg, media_type="image/svg+xml")

    return [
        answers_anyone(Route(LOGIN_PATH, show, methods=["GET"])),
        answers_anyone(Route(LOGIN_PATH, log_in, methods=["POST"])),
        answers_anyone(Route(LOGOUT_PATH, log_out, methods=["POST"])),
        answers_anyone(Route("/login.css", style, methods=["GET"])),
        answers_anyone(Route("/login.svg", icon, methods=["GET"])),
    ]


def _logout_form(csrf: str, name: str, *, may_act: bool) -> str:
    who = html.escape(name) if name else "You"
    verb = "is" if name else "are"
    rights = "can view and act" if may_act else "can view"
    return f"""<p>{who} {verb} logged in and {rights}.</p>
<p><a href="/">To the line</a></p>
<form method="post" action="{LOGOUT_PATH}">
<input type="hidden" name="csrf" value="{html.escape(csrf)}">
<button>Log out</button>
</form>"""


async def _form(request: "Request") -> dict[str, str] | None:
    """Return the fields of a form, the first of each name. None if the body is not a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return None
    try:
        text = (await request.body()).decode("ascii")
        pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return None
    return dict(reversed(pairs))


def _resource(name: str) -> str:
    return resources.files("andon.monitor.web").joinpath(name).read_text(encoding="utf-8")
