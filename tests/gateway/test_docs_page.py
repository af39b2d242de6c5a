"""``/docs``, the description for people: complete, and with nothing that a page may not have."""

import re
from collections import Counter
from html.parser import HTMLParser
from http import HTTPStatus

import pytest
import trio

from relay_gateway.web.description.page import make_page
from tests.support.described import described
from tests.support.gateways import gateway_to
from tests.support.models import Model

VOID = {"link", "meta"}


class Page(HTMLParser):
    """What is on a page, which has to close what it opens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: Counter[str] = Counter()
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert "style" not in given
        assert not any(name.startswith("on") for name in given)
        self.tags[tag] += 1
        self.ids += filter(None, [given.get("id")])
        self.links += filter(None, [given.get("href"), given.get("src")])
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


@pytest.mark.trio(run=trio.run)  # files are read in threads: a mock clock would jump over that
async def test_it_is_served_as_strictly_as_the_other_page() -> None:
    async with gateway_to(Model([])) as client:
        page = await client.send("/docs")
        assert page.status == HTTPStatus.OK
        headers = dict(page.headers)
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert not [name for name in headers if name.startswith("access-control-")]
        for link in Page(page.body.decode()).links:
            if not link.startswith("#"):
                found = await client.send(f"/{link}")
                assert (found.status, bool(found.body)) == (HTTPStatus.OK, True)


def test_it_is_well_formed_and_has_no_script() -> None:
    page = Page(make_page(described()))
    assert {"script", "style", "iframe", "form", "img"} & page.tags.keys() == set()
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)


def test_it_shows_every_path_response_and_model() -> None:
    text = make_page(described())
    for path, methods in described()["paths"].items():
        for method, operation in methods.items():
            assert f"<code>{method.upper()} {path}</code></h2>" in text
            section = text.partition(f'<h2 id="{operation["operationId"]}">')[2]
            section = section.partition("</section>")[0]
            statuses = re.findall(r"<summary><strong>(\d+)</strong>", section)
            assert statuses == list(operation["responses"])
    for name, schema in described()["components"]["schemas"].items():
        shown = text.partition(f'<h3 id="{name}">')[2].partition("<h3")[0]
        for field in schema.get("properties", {}):
            assert f'<th scope="row"><code>{field}</code></th>' in shown


def test_what_is_described_is_text_and_no_html() -> None:
    document = {**described(), "info": {"title": "<b>", "description": "`a<b`", "version": "&"}}
    text = make_page(document)
    assert "<title>&lt;b&gt;: HTTP API</title>" in text
    assert "<code>a&lt;b</code> Version &amp;." in text
