"""ComfyUI's frontend in Debian's Chromium."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from selenium.common.exceptions import JavascriptException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

# The last ones keep Chromium from asking its maker about updates and accounts.
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NOT_INSTALLED = "chromium is not installed and only root can install it"
READY_SECONDS = 60
# Templates of the core come in packages of their own, which the test bed leaves out. The page also asks its maker's
# sites about nodes and missing models; the server, started without nodes that need them, forbids it to.
HARMLESS = ("/templates/", "/api/userdata/", "favicon", "Content Security Policy", "Error fetching file size")


def require_chromium() -> None:
    """Skips the test where there is no Chromium and nobody here could install it; on CI that is a failure."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    if os.environ.get("CI") == "true":
        pytest.fail(NOT_INSTALLED)
    pytest.skip(NOT_INSTALLED)


class Page:
    """The frontend of one server."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        driver.get(url)
        self._wait()

    def reload(self) -> None:
        self.driver.refresh()
        self._wait()

    def _wait(self) -> None:
        ready = "return !!window.app?.graph"
        WebDriverWait(self.driver, READY_SECONDS).until(lambda page: page.execute_script(ready))

    def call(self, body: str, *arguments: Any) -> Any:
        """Runs the body of an async function in the page; its arguments are `args`."""
        script = (
            """
            const args = [...arguments].slice(0, -1), done = arguments[arguments.length - 1];
            (async () => {"""
            + body
            + """})().then(value => done({value}), error => done({error: String(error)}));
        """
        )
        answer = self.driver.execute_async_script(script, *arguments)
        if "error" in answer:
            raise JavascriptException(answer["error"])
        return answer.get("value")

    def load(self, workflow: dict[str, Any]) -> None:
        """Opens a workflow in the form the browser saves."""
        self.call("await app.loadGraphData(args[0])", workflow)

    def unmute(self) -> None:
        """Switches on the nodes that a workflow ships muted."""
        self.call("for (const node of app.rootGraph.nodes) node.mode = 0")

    # Both go through JSON as the page itself does: the driver would sort keys and turn what is undefined into null.

    def api_graph(self) -> dict[str, Any]:
        """What the page would queue."""
        return json.loads(self.call("return JSON.stringify((await app.graphToPrompt()).output)"))

    def workflow(self) -> dict[str, Any]:
        """What the page would save."""
        return json.loads(self.call("return JSON.stringify(app.rootGraph.serialize())"))

    def missing_node_types(self) -> list[str]:
        return self.call(
            "return app.rootGraph.nodes.filter(node => !LiteGraph.registered_node_types[node.type])"
            ".map(node => node.type).filter(type => type !== 'Note' && type !== 'MarkdownNote')"
        )

    def errors(self) -> list[str]:
        """Errors the page has written since the last call."""
        entries = (entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE")
        return [entry["message"] for entry in entries if not any(part in entry["message"] for part in HARMLESS)]


@contextmanager
def frontend(url: str, width_px: int = 1920, height_px: int = 1080) -> Iterator[Page]:
    """Opens the frontend at this address and closes the browser afterwards."""
    with chromium(width_px, height_px) as driver:
        yield Page(driver, url)


@contextmanager
def chromium(width_px: int = 1920, height_px: int = 1080) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in (*OPTIONS, f"--window-size={width_px},{height_px}"):
        options.add_argument(option)
    driver = Chrome(options, Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(READY_SECONDS)
        yield driver
    finally:
        driver.quit()
