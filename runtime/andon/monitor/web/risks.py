"""Find settings of the web server that are allowed but can let strangers in. `andon check` shows them as warnings."""

import os
import stat
from pathlib import Path

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.foundation.secret import Secret
from andon.monitor.web.settings import WebSettings, act_token, is_wildcard, view_token

FEWEST_CHARACTERS = 8
"""Different characters of a token that looks random. 32 random hex digits have fewer in one of 28 million cases."""


def web_risks(settings: WebSettings) -> tuple[str, ...]:
    """Return one sentence for each risk, with advice. The settings were accepted by `check_web`."""
    risks = []
    if settings.behind_proxy and settings.tls_cert is None and not settings.is_loopback:
        risks.append(
            f"{printable(settings.host)} can be reached without the proxy. Tokens are then sent without encryption, and "
            'clients can forge X-Forwarded-For. If the proxy runs on this machine, use host = "127.0.0.1". Else let only the '
            "proxy connect."
        )
    if is_wildcard(settings.host):
        risks.append(
            "the server listens on all networks of this machine, also on those of cameras and controllers. Name the address of "
            "one network as host."
        )
    for name, secret, read in (
        ("view_token", settings.view_token, view_token),
        ("act_token", settings.act_token, act_token),
    ):
        try:
            token = read(settings)
        except ConfigError:
            continue  # `check_web` reports it
        if token is not None and len(set(token)) < FEWEST_CHARACTERS:
            risks.append(f"{name} does not look random. Make one with: andon token FOLDER")
        if secret is not None:
            risks.extend(f"{name}: {risk}" for risk in _folder_risks(secret))
    return tuple(risks)


def access_text(settings: WebSettings) -> str:
    """Describe who can view and who can act."""
    where = "on this machine" if settings.is_loopback and not settings.behind_proxy else "who can reach the server"
    view = f"everyone {where} can view" if settings.view_token is None else "viewing needs a token"
    act = "acting is switched off" if settings.act_token is None else "acting needs the act token"
    return f"{view}; {act}"


def _folder_risks(secret: Secret) -> list[str]:
    """Return a risk if other users can replace the file, although they cannot read it."""
    if secret.file is None or os.name != "posix":
        return []
    folder = Path(secret.file).absolute().parent
    try:
        mode = folder.stat().st_mode
    except OSError:
        return []
    if not mode & 0o022 or mode & stat.S_ISVTX:
        return []
    shown = printable(str(folder))
    return [f"other users can replace files in {shown} (mode {stat.S_IMODE(mode):04o}). Run: chmod go-w {shown}"]
