"""Let people log in with a token, and log out. The page has no script, so that it works in every browser.

A right token begins a session. Its identifier is in a cookie that scripts cannot read, that other sites cannot use, and that is
sent by https only if the server has TLS or a proxy. The token itself is in the body of the form: never in an address or a cookie.
"""

import math
import urllib.parse
from importlib import resources
from typing import TYPE_CHECKING

from andon.monitor.web.access import AccessControl
from andon.monitor.web.html_templates import environment, rendered
from andon.monitor.web.rights import access_of, answers_anyone
from andon.monitor.web.sessions import LONGEST_NAME, Session, is_csrf_of
from andon.monitor.web.texts import texts

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

LOGIN_PATH = "/login"
LOGOUT_PATH = "/logout"
_MOST_FIELDS = 8


def login_routes(control: AccessControl) -> "list[Route]":
    """Return the routes for logging in and out."""
    from starlette.responses import RedirectResponse, Response
    from starlette.routing import Route

    css, svg = _resource("login.css"), _resource("login.svg")
    environment()  # requests of strangers then read no files
    texts()

    def answer(
        message: str = "",
        status: int = 200,
        *,
        session: Session | None = None,
        may_act: bool = False,
        form: bool = True,
        headers: dict[str, str] | None = None,
    ) -> "Response":
        """Return the page: who is logged in, and the form if there is something to log in to."""
        acts_on = form and session is not None and not may_act and control.settings.act_token is not None
        text = rendered(
            "login.html",
            message=message,
            session=session,
            who=_who(session, may_act=may_act),
            longest_name=LONGEST_NAME,
            offers_to_act=acts_on,
            offers_login=form and control.can_log_in and (session is None or acts_on),
            offers_nothing=form and not control.can_log_in and session is None,
        )
        # without this, browsers send "Origin: null" with the form, and it looks like one of another site
        own = {"referrer-policy": "same-origin", **(headers or {})}
        return Response(text, status, own, media_type="text/html")

    async def show(request: "Request") -> "Response":
        access = access_of(request)
        return answer(session=access.session, may_act=access.may_act)

    async def log_in(request: "Request") -> "Response":
        if not control.can_log_in:
            return answer(texts()["login.nothing"], 403)
        fields = await _form(request)
        if fields is None:
            return answer(texts()["login.other_content"], 415)
        token, name = fields.get("token", ""), fields.get("name", "")
        login = control.log_in(request.scope, request.headers, token, name)
        if login.broken:
            return answer(texts()["login.broken"], 503)
        if login.wait_s > 0.0:
            wait_s = str(math.ceil(login.wait_s))
            return answer(texts()["login.wait"].replace("{number}", wait_s), 429, headers={"retry-after": wait_s})
        if not login.identifier:
            return answer(texts()["login.wrong"], 401)
        return RedirectResponse("/", 303, {"set-cookie": control.cookie(request.scope, login.identifier)})

    async def log_out(request: "Request") -> "Response":
        fields, session = await _form(request), access_of(request).session
        if fields is None:
            return answer(texts()["login.other_content"], 415, form=False)
        if session is not None and not is_csrf_of(session, fields.get("csrf")):
            return answer(texts()["login.out_of_date"], 403, form=False)
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


def _who(session: Session | None, *, may_act: bool) -> str:
    """Return the sentence that states who is logged in."""
    if session is None:
        return ""
    key = f"login.{'named' if session.name else 'unnamed'}_{'acts' if may_act else 'views'}"
    return texts()[key].replace("{name}", session.name)


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
