"""A headless Chromium from the distribution, driven over WebDriver, that reaches nothing but loopback."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.patience import patient
from tests.system.site import need, wait_until

_SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
)
LOAD_SECONDS = patient(20)


class Browser:
    """One window. `errors` gathers what its console says of errors, of all pages that were open."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def errors(self) -> list[str]:
        """Messages of the console since the last call."""
        log: list[dict[str, Any]] = self.driver.get_log("browser")
        return [entry["message"] for entry in log]

    def run(self, script: str, *arguments: object) -> Any:
        """What a script gives, run in the page."""
        return self.driver.execute_script(script, *arguments)

    def dress(self, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """The window's size and the colours that its user prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, url: str) -> None:
        """Opens the page and waits until it has been filled."""
        self.driver.get(url)
        self.until(lambda: self.text("h1") != "Asking …", "the page is filled")

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def answer(self, text: str) -> None:
        """Types into the question that the page asks, and accepts."""
        question = self.driver.switch_to.alert
        question.send_keys(text)
        question.accept()

    def empty(self, selector: str) -> None:
        """Wipes a field, as a hand would."""
        self.find(selector).send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)

    def texts(self, selector: str) -> list[str]:
        """The texts of all that match."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)", selector
        )
        return found

    def text(self, selector: str) -> str:
        """The text of the first that matches."""
        return self.texts(selector)[0]

    def column(self, name: str) -> list[str]:
        """What the table of sessions shows in a column."""
        names = self.run("return [...document.querySelectorAll('#sessions thead th')].map((one) => one.dataset.column)")
        return self.texts(f"#sessions tbody tr > :nth-child({names.index(name) + 1})")

    def until(self, true: Callable[[], object], what: str) -> None:
        wait_until(true, what, LOAD_SECONDS)


@contextlib.contextmanager
def chromium(directory: Path) -> Iterator[Browser]:
    """A fresh one, whose profile is in the directory."""
    options = webdriver.ChromeOptions()
    options.binary_location = need("chromium")
    for switch in (*_SWITCHES, f"--user-data-dir={directory}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(need("chromedriver"), log_output=os.devnull))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
