"""The page in a real browser: Debian's Chromium, driven by Playwright. The console stays empty in every view."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.monitor.confirmed_parts import answered_store
from tests.monitor.web.pages import ACT

from andon.demo.example_line import MODEL, example
from andon.monitor import Monitor
from andon.monitor.event import AlarmChanged, AlarmShelved, Confirmed
from andon.monitor.store import StoreReader
from andon.runtime.model_file.format import read

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDE, PHONE = {"width": 1920, "height": 1080}, {"width": 390, "height": 844}
LINE = """
[store]
path = "state"
ballast_bytes = 262144
[web]
port = 0
act_token = { env = "ANDON_TEST_ACT" }
[[line]]
name = "converter-7"
model = "power_converter.onnx"
[line.alarm]
on = 0.0
k = 1
n = 1
clear_n = 1000
[line.source]
kind = "power_converter"
address = "power_converter:seed=3,rows=100000,faults=20"
speed = "recorded"
[[line.sinks]]
kind = "json_lines"
path = "v.jsonl"
"""

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tokens")]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if not CHROMIUM.exists():
    pytest.skip(f"{CHROMIUM} is not installed", allow_module_level=True)


_NAME = """one => one.getAttribute("aria-label") || one.getAttribute("alt") || one.textContent
    || (one.labels && one.labels.length ? one.labels[0].textContent : "")"""


class Watch:
    """A browser window, with everything that went wrong in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("response", self._answered)

    def _answered(self, response: Any) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.status} {response.url}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def monitor(tmp_path: Path, tokens: None) -> Iterator[tuple[Monitor, str]]:
    (tmp_path / MODEL).write_bytes(example(MODEL))
    (tmp_path / "line.toml").write_text(LINE)
    running = Monitor(tmp_path / "line.toml")
    running.start()
    try:
        assert running.page_url is not None
        yield running, running.page_url
    finally:
        running.stop()


@contextlib.contextmanager
def window(browser: Any, **how: Any) -> Iterator[Watch]:
    context = browser.new_context(**({"viewport": WIDE} | how))
    try:
        yield Watch(context.new_page())
    finally:
        context.close()


def log_in(page: Any, address: str) -> None:
    page.goto(f"{address}/login")
    page.fill("#token", ACT)
    page.fill("#name", "Ana")
    page.click("button")
    page.wait_for_url(f"{address}/")


def is_shown(page: Any, text: str, **how: Any) -> None:
    sync_api.expect(page.get_by_text(text, **how).first).to_be_visible(timeout=20_000)


@pytest.mark.parametrize("how", [{}, {"viewport": PHONE}, {"color_scheme": "dark"}, {"reduced_motion": "reduce"}])
def test_each_view_works_with_an_empty_console_and_fits_into_the_window(
    how: dict[str, Any], browser: Any, monitor: tuple[Monitor, str]
) -> None:
    _, address = monitor
    with window(browser, **how) as watch:
        page = watch.page
        page.goto(address)
        is_shown(page, "ALARM", exact=True)
        page.click(".tile a")
        is_shown(page, "Live signals")
        sync_api.expect(page.locator(".curve")).to_have_count(3, timeout=20_000)
        sync_api.expect(page.locator("#events li").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.click("#events li a >> nth=0")
        is_shown(page, "Evidence")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.go_back()
        is_shown(page, "Live signals")
        assert watch.problems == []


def test_a_person_acknowledges_and_shelves_an_alarm_and_confirms_a_part(
    browser: Any, monitor: tuple[Monitor, str], tmp_path: Path
) -> None:
    _, address = monitor
    with window(browser) as watch:
        page = watch.page
        log_in(page, address)
        page.click(".tile a")
        page.click("#alarms button:has-text('Acknowledge')")
        sync_api.expect(page.locator(".banner .signal")).to_contain_text("Acknowledged", timeout=20_000)
        page.click("#alarms button:has-text('Shelve')")
        page.keyboard.type("trial batch")
        page.keyboard.press("Enter")
        is_shown(page, "S: 1 shelved")
        is_shown(page, "trial batch (Ana)")
        page.click("text=This part was defective")
        is_shown(page, "Noted: defective")
        page.click("#alarms button:has-text('End shelf')")
        sync_api.expect(page.get_by_text("S: 1 shelved")).to_have_count(0, timeout=20_000)
        assert watch.problems == []

    bodies = [event.body for event in StoreReader(tmp_path / "state").recent(line="converter-7", limit=1000)]
    assert [(one.change, one.by) for one in bodies if isinstance(one, AlarmChanged)] == [
        ("acked", "Ana"),
        ("raised", ""),
    ]
    assert [one.change for one in bodies if isinstance(one, AlarmShelved)] == ["unshelved", "shelved"]
    (confirmed,) = (one for one in bodies if isinstance(one, Confirmed))
    assert (confirmed.truth, confirmed.by) == ("defective", "Ana")


def test_everything_that_can_be_used_has_a_name_for_a_screen_reader_and_is_reached_by_the_keyboard(
    browser: Any, monitor: tuple[Monitor, str]
) -> None:
    _, address = monitor
    with window(browser) as watch:
        page = watch.page
        log_in(page, address)
        page.click(".tile a")
        is_shown(page, "Acknowledge", exact=True)
        for role in ("button", "link", "textbox", "img"):
            for one in page.get_by_role(role).all():
                assert one.evaluate(_NAME).strip(), one.evaluate("one => one.outerHTML")
        page.locator("body").press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.textContent"))
        assert {"Acknowledge", "Shelve", "This part was good", "This part was defective"} <= reached


@pytest.fixture
def answered(tmp_path: Path, tokens: None) -> Iterator[tuple[Monitor, str]]:
    """A monitor whose store has enough confirmed parts for a recalibration."""
    (tmp_path / MODEL).write_bytes(example(MODEL))
    (tmp_path / "line.toml").write_text(LINE.replace("act_token", "confirm_one_in = 1\nact_token"))
    digest = read(tmp_path / MODEL).short_digest
    answered_store(tmp_path / "state", digest, ["good"] * 340, line="converter-7").close()
    running = Monitor(tmp_path / "line.toml")
    running.start()
    try:
        assert running.page_url is not None
        yield running, running.page_url
    finally:
        running.stop()


def test_a_person_confirms_parts_that_were_chosen_at_random_and_sees_no_verdict(
    browser: Any, answered: tuple[Monitor, str], tmp_path: Path
) -> None:
    _, address = answered
    with window(browser, viewport=PHONE) as watch:
        page = watch.page
        log_in(page, address)
        page.goto(f"{address}/lines/converter-7/confirm")
        asked = page.locator("#asked-item")
        sync_api.expect(asked).to_contain_text("run", timeout=20_000)
        sync_api.expect(page.locator("#question .curve")).to_have_count(3, timeout=20_000)
        first = asked.text_content()
        for word in ("OK", "REJECT", "Score", "threshold"):
            assert word not in page.locator("main").text_content()
        page.click("button:has-text('Good')")
        sync_api.expect(asked).not_to_have_text(first, timeout=20_000)
        page.click("button:has-text('Not sure')")
        page.goto(f"{address}/lines/converter-7")
        sync_api.expect(page.locator("#open-questions.waiting")).to_contain_text("open", timeout=20_000)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert watch.problems == []
    stored = StoreReader(tmp_path / "state")
    found = []
    for _ in range(100):
        found = [event.body for event in stored.recent(kind="confirmation", limit=2)]
        if len(found) == 2 and isinstance(found[0], Confirmed) and found[0].truth == "unclear":
            break
        time.sleep(0.1)
    assert [(one.truth, one.by) for one in found if isinstance(one, Confirmed)] == [("unclear", "Ana"), ("good", "Ana")]


@pytest.mark.parametrize("how", [{}, {"viewport": PHONE}])
def test_a_person_compares_old_and_new_and_puts_the_new_file_in_place(
    how: dict[str, Any], browser: Any, answered: tuple[Monitor, str], tmp_path: Path
) -> None:
    running, address = answered
    before = read(tmp_path / MODEL).short_digest
    with window(browser, **how) as watch:
        page = watch.page
        log_in(page, address)
        page.goto(f"{address}/lines/converter-7/recalibration")
        is_shown(page, "340 good")
        page.click("button:has-text('Make a proposal')")
        sync_api.expect(page.locator("table.compared")).to_be_visible(timeout=60_000)
        assert before in page.locator("table.compared").text_content()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert read(tmp_path / MODEL).short_digest == before
        page.click("button:has-text('Use the new file')")
        is_shown(page, "Ana put the file")
        assert watch.problems == []
    after = read(tmp_path / MODEL).short_digest
    assert after != before
    assert (tmp_path / f"power_converter.{before}.onnx").read_bytes() == example(MODEL)
    for _ in range(100):
        if running.status().lines[0].model == after:
            break
        time.sleep(0.1)
    assert running.status().lines[0].model == after


def test_a_line_without_confirmed_parts_says_what_is_missing(browser: Any, monitor: tuple[Monitor, str]) -> None:
    _, address = monitor
    with window(browser) as watch:
        page = watch.page
        log_in(page, address)
        page.goto(f"{address}/lines/converter-7/recalibration")
        is_shown(page, "People are not asked about any parts")
        assert page.locator("button:has-text('Make a proposal')").is_disabled()
        assert watch.problems == []


def test_c03_a_page_without_a_connection_says_so_and_crosses_out_the_picture(
    browser: Any, monitor: tuple[Monitor, str]
) -> None:
    running, address = monitor
    with window(browser) as watch:
        page = watch.page
        page.goto(f"{address}/lines/converter-7")
        sync_api.expect(page.locator(".curve")).to_have_count(3, timeout=20_000)
        running.stop()
        is_shown(page, "NO CONNECTION")
        sync_api.expect(page.locator(".picture")).to_have_attribute("data-stale", "yes")
        sync_api.expect(page.locator(".crossed")).to_be_visible()


def test_a_page_whose_login_has_ended_leads_to_the_page_for_logging_in(browser: Any, tmp_path: Path) -> None:
    (tmp_path / MODEL).write_bytes(example(MODEL))
    (tmp_path / "line.toml").write_text(
        LINE.replace("act_token", 'view_token = { env = "ANDON_TEST_VIEW" }\nact_token')
    )
    running = Monitor(tmp_path / "line.toml")
    running.start()
    try:
        with window(browser) as watch:
            assert running.page_url is not None
            log_in(watch.page, running.page_url)
            sync_api.expect(watch.page.locator("body")).to_have_attribute("data-connection", "ok", timeout=20_000)
            other = watch.page.context.new_page()
            other.goto(f"{running.page_url}/login")
            other.click("button:has-text('Log out')")
            other.close()
            watch.page.wait_for_url(f"{running.page_url}/login", timeout=60_000)  # the right is checked every 15 s
    finally:
        running.stop()


def test_c27_the_monitor_stops_within_five_seconds_with_five_open_pages(
    browser: Any, monitor: tuple[Monitor, str]
) -> None:
    running, address = monitor
    with contextlib.ExitStack() as open_windows:
        for path in ("/", "/", "/lines/converter-7", "/lines/converter-7", "/lines/converter-7"):
            page = open_windows.enter_context(window(browser)).page
            page.goto(address + path)
            sync_api.expect(page.locator("body")).to_have_attribute("data-connection", "ok", timeout=20_000)
        began_s = time.monotonic()
        running.stop()
        assert time.monotonic() - began_s < 5.0
