"""The description's page in a real browser, under its policy."""

import pytest
from playwright.sync_api import ConsoleMessage, ViewportSize, expect

from tests.support.browsing import launched
from tests.support.gateway_program import run_gateway

pytestmark = pytest.mark.browser

PHONE: ViewportSize = {"width": 360, "height": 740}
FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


def test_a_person_finds_a_field_without_a_script(chromium: str) -> None:
    complaints: list[str] = []
    requested: list[str] = []

    def note(message: ConsoleMessage) -> None:
        complaints.append(message.text)

    with run_gateway("127.0.0.1:1") as (_, origin), launched(chromium) as browser:
        page = browser.new_page(java_script_enabled=False)
        page.on("console", note)
        page.on("request", lambda request: requested.append(request.url))
        page.goto(f"{origin}/docs")
        page.get_by_role("link", name="POST /v1/chat/completions").click()
        section = page.get_by_role("region", name="POST /v1/chat/completions")
        section.get_by_role("link", name="ChatCompletionRequest").click()
        fields = page.locator("#ChatCompletionRequest ~ .table").first
        row = fields.get_by_role("row", name="max_tokens integer or null")
        expect(row).to_contain_text("tokens that the answer may have at most")
        page.get_by_text("404", exact=True).first.click()
        expect(page.get_by_text("there is no model 'x'").first).to_be_visible()
    assert complaints == []
    assert {url.startswith(f"{origin}/") for url in requested} == {True}
    assert f"{origin}/static/docs.css" in requested


def test_it_fits_on_a_phone(chromium: str) -> None:
    with run_gateway("127.0.0.1:1") as (_, origin), launched(chromium) as browser:
        page = browser.new_page(viewport=PHONE)
        page.goto(f"{origin}/docs")
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate(FITS)
