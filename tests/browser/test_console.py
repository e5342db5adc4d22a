"""The console in the real Chromium, under its strict policy: nothing refused, nothing fetched from elsewhere, nothing cut off.

HOLDFAST_SCREENSHOTS names a folder for the pictures (README, judging by eye); without it they go to the test's own folder.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import sync_playwright
from tests import houses

from holdfast import api, console
from holdfast.core.deployment import Deployment
from holdfast.core.profile import DAY
from holdfast.testing import MemoryDatabase
from holdfast.web.site import Site, application

pytestmark = pytest.mark.xdist_group("browser")

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
]
LONG = "a-deployment-whose-name-is-as-long-as-a-name-may-be-it-is-63-ch"


@pytest.fixture(name="address", scope="module")
def control_port(tmp_path_factory):
    """Three deployments: one with a story, one with a long name and a short life, one that nobody has asked yet."""
    folder = tmp_path_factory.mktemp("console")
    database = MemoryDatabase()
    town = houses.fill(database)
    other = houses.fill(database, name=LONG, seed=2, days=60, prefix="b")
    releases = houses.Town(town.releases | other.releases)
    with database.begin() as stores:
        stores.deployments.save(Deployment(name="quiet", live=town.digests()[0], since=(houses.DAY0 + 400) * DAY))
    site = Site(database, releases.release, releases.digests, folder, folder, 1.0, "http://127.0.0.1:8080")
    with serving(site) as found:
        yield found


class serving:  # noqa: N801 - reads as a verb
    """The control port in a thread, as the keeper runs it."""

    def __init__(self, site):
        app = application([*api.routes(site), *console.routes(site)], console.error_page)
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()


@pytest.fixture(name="browser", scope="module")
def started(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(name="shots", scope="module")
def folder_of_shots(tmp_path_factory):
    folder = Path(os.environ.get("HOLDFAST_SCREENSHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def opened(browser, address, path, *, width, scheme):
    """A page, and everything that went wrong while it loaded."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, wrong = context.new_page(), []
    page.on("console", lambda m: wrong.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
    page.on("request", lambda r: r.url.startswith((address, "data:")) or wrong.append(f"elsewhere: {r.url}"))
    answer = page.goto(address + path, wait_until="networkidle")
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    return page, wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("overview", "/"),
        ("deployment", "/deployments/house-prices"),
        ("long-name", f"/deployments/{LONG}"),
        ("no-data", "/deployments/quiet"),
        ("alarms", "/alarms"),
        ("api", "/deployments/house-prices/api"),
    ],
)
def test_pages_load_clean_and_fit(browser, address, shots, name, path, width, scheme):
    page, wrong = opened(browser, address, path, width=width, scheme=scheme)
    page.screenshot(path=shots / f"{name}-{width}-{scheme}.png", full_page=True)
    assert wrong == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("svg:not([role=img])").count() == 0
    page.context.close()


def test_colours_follow_the_scheme(browser, address):
    grounds = set()
    for scheme in ("light", "dark"):
        page, _ = opened(browser, address, "/", width=800, scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.context.close()
    assert len(grounds) == 2


def test_a_person_can_promote_and_accept(browser, address):
    page, wrong = opened(browser, address, f"/deployments/{LONG}", width=1000, scheme="light")
    page.get_by_text("Promote the canary…").click()
    page.get_by_role("button", name="Promote").click()
    page.wait_for_load_state("networkidle")
    assert "no canary is running" in page.locator("main").inner_text()
    page.get_by_text("Accept as the new normal…").click()
    page.get_by_role("button", name="Accept").click()
    page.wait_for_load_state("networkidle")
    assert "closed: accepted" in page.locator("main").inner_text()
    assert wrong == []
    page.context.close()


def test_an_open_page_looks_again_by_itself(browser, address):
    context = browser.new_context()
    page, wrong = context.new_page(), []
    page.on("console", lambda m: wrong.append(m.text))
    page.clock.install()
    page.goto(address, wait_until="networkidle")
    page.evaluate("document.querySelector('main').dataset.old = 'yes'")
    with page.expect_response(lambda r: r.url.rstrip("/") == address):
        page.clock.fast_forward(10_500)
    page.wait_for_selector("main:not([data-old])")
    assert page.locator("table.list tbody tr").count() == 3
    assert wrong == []
    context.close()


def test_pages_read_without_a_script(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/deployments/house-prices")
    assert page.locator("svg.hf-timeline").count() == 1
    page.locator("figure details summary").first.click()
    assert page.locator("figure table").first.is_visible()
    context.close()
