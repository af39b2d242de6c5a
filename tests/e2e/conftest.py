"""A browser, a gateway, and a model that does as its prompt says, for all tests of a file."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from harness.programs import Program, run_module
from tests.support.browsing import Visit, launched, visit
from tests.support.gateway_program import run_gateway


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with launched(chromium) as running:
        yield running


@pytest.fixture(scope="module")
def model() -> Iterator[Program]:
    with run_module("tests.support.scripted_model") as program:
        yield program


@pytest.fixture(scope="module")
def model_target(model: Program) -> str:
    port = json.loads(model.wait_for('"event": "listening"').string)["port"]
    return f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def origin(model_target: str) -> Iterator[str]:
    with run_gateway(model_target) as (_, address):
        yield address


@pytest.fixture
def opened(browser: Browser, origin: str) -> Iterator[Visit]:
    with visit(browser, origin) as visited:
        yield visited
