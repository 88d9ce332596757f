"""Check the parts of a configuration that belong to the whole process: event store, outputs, controllers, web server.

A check changes nothing: no event is stored, no output or controller connects, and no port stays open.
"""

import functools
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from andon.foundation.errors import AndonError, ConfigError
from andon.foundation.printable import printable
from andon.monitor.config import Configuration
from andon.monitor.controller_kind import ChosenController
from andon.monitor.line_check import Finding, target_text
from andon.monitor.output import ChosenOutput
from andon.monitor.store import Settings as StoreSettings
from andon.monitor.store import StoreReader, damage_as_error
from andon.monitor.store_folder import DATABASE, holder, require_local
from andon.monitor.web.risks import access_text, web_risks
from andon.monitor.web.settings import WebSettings, check_web
from andon.sources.clock import Clock


def check_process(configuration: Configuration, clock: Clock) -> tuple[Finding, ...]:
    """Return one finding for the store, each output, each controller and the web server, where the configuration has them.

    Each risk of the web server is one more finding, see `web_risks`.
    """
    findings = []

    def note(subject: str, look: Callable[[], str]) -> None:
        try:
            ok, text = True, look()
        except AndonError as error:
            ok, text = False, str(error)
        findings.append(Finding(line="", subject=subject, ok=ok, text=printable(text, limit=1000)))

    if configuration.store is not None:
        note("store", functools.partial(_store_text, configuration.store))
    for output in configuration.outputs:
        note(f"output {output.name} ({output.kind.name})", functools.partial(_output_text, output, clock))
    for controller in configuration.controllers:
        look = functools.partial(_controller_text, controller, [line.name for line in configuration.lines], clock)
        note(f"controller {controller.name} ({controller.kind.name})", look)
    if configuration.web is not None:
        note("web", functools.partial(_web_text, configuration.web))
        if findings[-1].ok:
            findings.extend(
                Finding(line="", subject="web", ok=True, text=printable(risk, limit=1000), warning=True)
                for risk in web_risks(configuration.web)
            )
    return tuple(findings)


def _store_text(settings: StoreSettings) -> str:
    folder = Path(settings.path)
    text = target_text(folder, "folder")
    if not settings.any_file_system:
        require_local(next((one for one in (folder, *folder.parents) if one.exists()), folder))
    if not folder.exists():
        return text
    process = holder(folder)
    if (folder / DATABASE).exists():
        with damage_as_error(folder):
            newest = StoreReader(folder).recent(limit=1)
        text += f"; {newest[0].seq if newest else 0} events so far"
    return f"{text}; in use by process {process}" if process is not None else text


def _output_text(output: ChosenOutput, clock: Clock) -> str:
    output.open(clock)
    lines = "all lines" if output.lines is None else f"lines {', '.join(output.lines)}"
    kinds = "all events" if output.kinds is None else f"events {', '.join(output.kinds)}"
    return f"{kinds} of {lines}; its settings are valid; the receiver was not contacted"


def _controller_text(controller: ChosenController, lines: Sequence[str], clock: Clock) -> str:
    controller.open(clock, lines).close()
    shown = "all lines" if controller.lines is None else f"lines {', '.join(controller.lines)}"
    return f"state and results of {shown}; its settings are valid; the controller was not contacted"


def _web_text(settings: WebSettings) -> str:
    check_web(settings)
    access = access_text(settings)
    if settings.port == 0:
        return f"{settings.host}: a free port is chosen at the start; {access}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((settings.host, settings.port))
        except OSError as error:
            raise ConfigError(
                f"{settings.host}:{settings.port}: cannot listen: {error.strerror}. Is the monitor running already? Else choose "
                "another port."
            ) from error
    return f"{settings.host}:{settings.port} is free; {access}"
