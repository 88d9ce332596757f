"""The page for the maintenance engineer names every metric, reason, state and path that a monitor can show."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from tests.docs.pages import blocks
from tests.monitor.statuses import FULL, with_line

from andon.foundation.settings import from_table
from andon.monitor.counters import DropReason
from andon.monitor.health import readiness
from andon.monitor.metrics import exposition
from andon.monitor.status import LineState, ProcessStatus, StoreStatus, TriggerStatus
from andon.monitor.web.settings import WebSettings
from andon.runtime.schema import Reason

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "maintenance.md"
TEXT = PAGE.read_text(encoding="utf-8")
INLINE = set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)))


def test_each_metric_is_explained_and_no_other() -> None:
    written = {name + ("_total" if kind == "counter" else "") for name, kind in _families()}
    explained = set(re.findall(r"`(andon_\w+)`", TEXT))

    assert explained == written


def _families() -> list[tuple[str, str]]:
    from prometheus_client.parser import text_string_to_metric_families

    return [(family.name, family.type) for family in text_string_to_metric_families(exposition(FULL)[0].decode())]


def test_each_reason_of_an_item_and_each_state_of_a_line_has_advice() -> None:
    assert {reason.code for reason in Reason if reason} <= INLINE
    assert set(get_args(DropReason)) <= INLINE
    assert set(get_args(LineState)) <= INLINE


SICK = [
    with_line(last_outcome_s=900.0),
    with_line(last_outcome_s=None, since_s=None),
    with_line(judging_since_s=900.0),
    with_line(state="starting", since_s=1.0),
    with_line(state="failed"),
    with_line(golden=False),
    with_line(trigger=TriggerStatus(failing="Connection refused")),
    ProcessStatus(version="", run="", started_wall_s=0, now_s=0, now_wall_s=0),
    ProcessStatus(version="", run="", started_wall_s=0, now_s=0, now_wall_s=0, lines=FULL.lines, stopping=True),
    ProcessStatus(version="", run="", started_wall_s=0, now_s=99, now_wall_s=0, lines=FULL.lines, store=StoreStatus()),
    ProcessStatus(
        version="", run="", started_wall_s=0, now_s=99, now_wall_s=0, lines=FULL.lines, store=StoreStatus(ping_s=1.0)
    ),
]


@pytest.mark.parametrize("status", SICK, ids=range(len(SICK)))
def test_each_reason_of_a_health_check_has_advice(status: ProcessStatus) -> None:
    rows = re.findall(r"^\| (.+?) \|", TEXT, re.MULTILINE)
    reasons = readiness(status).reasons

    assert reasons
    assert all(any(row in reason for row in rows) for reason in reasons), reasons


def test_the_settings_on_the_page_can_be_read() -> None:
    tables = [tomllib.loads(block.text)["web"] for block in blocks(PAGE) if block.language == "toml"]

    assert [from_table(WebSettings, table, at="web").port for table in tables] == [WebSettings().port] * 2


def test_installing_takes_ten_lines() -> None:
    first = next(block for block in blocks(PAGE) if block.language == "sh")

    assert len(first.text.strip().splitlines()) == 10
