"""The page in a real browser, on a real hypercorn, with a real gRPC model service behind it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from harness.programs import Program, run_module
from relay_gateway.settings import GatewaySettings
from tests.support.browsing import ELSEWHERE, Visit, seen_by_model, visit
from tests.support.gateway_program import run_gateway
from tests.support.scripted_model import AWKWARD_TOKENS, FLOOD_TOKENS

pytestmark = pytest.mark.browser

PHONE = {"width": 360, "height": 740}

MAX_PROMPT_BYTES = GatewaySettings.model_fields["max_prompt_bytes"].default


def test_answer_streams_to_its_end(opened: Visit, model: Program) -> None:
    opened.ask("to be or not to be")
    opened.expect_ended("Done")
    opened.expect_shown("to be or not to be ")
    expect(opened.shown_prompt).to_have_text("to be or not to be")
    expect(opened.figure("Tokens")).to_have_text("6")
    expect(opened.prompt).to_be_empty()
    expect(opened.prompt).to_be_focused()
    assert len(opened.questions) == 1
    ended = seen_by_model(model, "ended", opened.session_id)
    assert (ended["prompt"], ended["outcome"]) == ("to be or not to be", "done")


def test_figures_tell_how_fast_the_model_is(opened: Visit) -> None:
    opened.ask("endless")
    expect(opened.state).to_have_text("Streaming")
    expect(opened.figure("Tokens")).to_have_text(re.compile(r"^\d\d+$"))
    expect(opened.figure("Speed")).to_have_text(re.compile(r"^[\d.]+ tokens/s$"))
    expect(opened.figure("First token")).to_have_text(re.compile(r"^\d+\.\d\d s$"))
    expect(opened.figure("Elapsed")).to_have_text(re.compile(r"^\d+\.\d s$"))
    opened.stop.click()
    expect(opened.figure("Elapsed")).to_have_text(re.compile(r"^\d+\.\d\d s$"))


def test_stop_button_ends_the_model_in_mid_answer(opened: Visit, model: Program) -> None:
    opened.ask("endless")
    expect(opened.answer).to_contain_text("line 10\n", use_inner_text=True)
    opened.stop.click()
    opened.expect_ended("Stopped by you")
    assert seen_by_model(model, "ended", opened.session_id)["outcome"] == "abandoned"


def test_escape_ends_a_model_that_still_thinks(opened: Visit, model: Program) -> None:
    opened.ask("silent")
    expect(opened.state).to_have_text("Waiting for the first token")
    seen_by_model(model, "called", opened.session_id)
    opened.page.keyboard.press("Escape")
    opened.expect_ended("Stopped by you")
    assert seen_by_model(model, "ended", opened.session_id)["outcome"] == "abandoned"
    expect(opened.figure("First token")).to_have_text("\u2013")


def _close(page: Page) -> None:
    page.close()


def _reload(page: Page) -> None:
    page.reload()


def _go_elsewhere(page: Page) -> None:
    page.goto(ELSEWHERE)


@pytest.mark.parametrize("leave", [_close, _reload, _go_elsewhere])
def test_leaving_ends_the_model(
    browser: Browser, origin: str, model: Program, leave: Callable[[Page], None]
) -> None:
    with visit(browser, origin) as visited:
        visited.ask("endless")
        expect(visited.state).to_have_text("Streaming")
        session_id = visited.session_id
        leave(visited.page)
        assert seen_by_model(model, "ended", session_id)["outcome"] == "abandoned"


def test_page_kept_for_the_back_button_does_not_pretend_to_stream(opened: Visit) -> None:
    opened.ask("endless")
    expect(opened.state).to_have_text("Streaming")
    # What a browser tells a page that it freezes for later; Playwright's never keeps one.
    opened.page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    opened.expect_ended("Stopped by you")


def test_error_of_the_model_is_told_in_words(opened: Visit, model: Program) -> None:
    opened.ask("failing answer")
    opened.expect_ended("Ended with an error")
    opened.expect_shown("Half an answer")
    words = "The model failed to answer. Please try again."
    expect(opened.problem).to_have_text(words)
    expect(opened.announcer).to_contain_text(words)
    assert seen_by_model(model, "ended", opened.session_id)["outcome"] == "failed"
    opened.again.click()
    expect(opened.prompt).to_have_value("failing answer")
    expect(opened.prompt).to_be_focused()


def test_lost_gateway_is_told_in_words_and_not_asked_again(
    browser: Browser, model_target: str, model: Program
) -> None:
    with run_gateway(model_target) as (gateway, origin), visit(browser, origin) as visited:
        visited.ask("endless")
        expect(visited.state).to_have_text("Streaming")
        gateway.kill()
        visited.expect_ended("Ended with an error")
        expect(visited.problem).to_have_text(
            "The connection was lost before the answer was complete."
        )
        visited.ask("anyone there?")
        visited.expect_ended("Ended with an error")
        expect(visited.problem).to_have_text("The gateway cannot be reached.")
        assert len(visited.questions) == 2
        assert all("net::ERR_" in complaint for complaint in visited.complaints)
        visited.complaints.clear()
        assert seen_by_model(model, "ended", visited.session_id)["outcome"] == "abandoned"


def test_gateway_without_a_model_is_told_in_words(browser: Browser) -> None:
    with run_gateway("127.0.0.1:1") as (_, origin), visit(browser, origin) as visited:
        visited.ask("hello")
        visited.expect_ended("Ended with an error")
        expect(visited.problem).to_have_text(
            "The model cannot be reached right now. Please try again in a moment."
        )
        # A refusal has a status, which Chromium tells as well.
        assert all("Failed to load" in complaint for complaint in visited.complaints)
        visited.complaints.clear()


def test_tokens_arrive_as_they_were_sent(opened: Visit) -> None:
    opened.ask("awkward")
    opened.expect_ended("Done")
    sent = "".join(AWKWARD_TOKENS).replace("\r\n", "\n").replace("\r", "\n")
    opened.expect_shown(sent)
    assert opened.answer.locator("img").count() == 0
    expect(opened.figure("Tokens")).to_have_text(str(len(AWKWARD_TOKENS)))


def test_prompt_arrives_as_it_was_typed(opened: Visit, model: Program) -> None:
    prompt = "a&b=c+d%20?#/ \u00e9\u4f60\u597d \U0001f680 <b>\nsecond line"
    opened.ask(prompt)
    opened.expect_ended("Done")
    assert seen_by_model(model, "ended", opened.session_id)["prompt"] == prompt
    opened.expect_shown(f"{prompt} ")


def test_thousands_of_tokens_at_once(opened: Visit) -> None:
    opened.ask("flood")
    opened.expect_ended("Done")
    opened.expect_shown("".join(FLOOD_TOKENS))
    expect(opened.figure("Tokens")).to_have_text(f"{len(FLOOD_TOKENS):,}")


def test_exchanges_of_a_visit_share_a_session(opened: Visit, browser: Browser, origin: str) -> None:
    opened.ask("first")
    opened.expect_ended("Done")
    opened.ask("second")
    expect(opened.exchanges).to_have_count(2)
    opened.expect_ended("Done")
    first, second = opened.questions
    assert first["session_id"] == second["session_id"]
    with visit(browser, origin) as another:
        another.ask("third")
        another.expect_ended("Done")
        assert another.session_id != opened.session_id


def test_origin_without_https_has_a_session_too(browser: Browser, origin: str) -> None:
    with visit(browser, origin, "delete Crypto.prototype.randomUUID;") as visited:
        visited.ask("hello")
        visited.expect_ended("Done")
        assert re.fullmatch("[0-9a-f]{32}", visited.session_id)


def test_one_answer_at_a_time(opened: Visit) -> None:
    opened.ask("endless")
    expect(opened.state).to_have_text("Streaming")
    opened.ask("another")
    expect(opened.notice).to_contain_text("still on its way")
    expect(opened.prompt).to_have_value("another")
    expect(opened.exchanges).to_have_count(1)
    opened.page.keyboard.press("Escape")
    expect(opened.notice).to_be_empty()
    opened.prompt.press("Enter")
    expect(opened.exchanges).to_have_count(2)
    opened.expect_ended("Done")


def test_double_click_on_send_does_not_stop(opened: Visit) -> None:
    opened.prompt.fill("endless")
    opened.send.dblclick()
    expect(opened.state).to_have_text("Streaming")
    opened.stop.click()
    opened.expect_ended("Stopped by you")


@pytest.mark.parametrize("prompt", ["", " ", "\n\t "])
def test_nothing_is_not_sent(opened: Visit, prompt: str) -> None:
    opened.ask(prompt)
    expect(opened.notice).to_have_text("Type a prompt first.")
    assert opened.questions == []


def test_prompt_that_is_too_long_is_told_before_it_is_sent(opened: Visit) -> None:
    limit = opened.page.locator("#limit")
    opened.prompt.fill("x" * (MAX_PROMPT_BYTES // 2))
    expect(limit).to_be_hidden()
    opened.ask("x" * (MAX_PROMPT_BYTES + 1))
    expect(limit).to_have_text("About 1 character too long")
    expect(opened.notice).to_contain_text("too long to send")
    expect(opened.prompt).to_have_attribute("aria-invalid", "true")
    assert opened.questions == []
    opened.prompt.fill("\u20ac" * (MAX_PROMPT_BYTES // 3))  # three bytes each
    expect(limit).to_have_text("99% of the longest prompt")
    expect(opened.notice).to_be_empty()


def test_longest_prompt_is_asked(opened: Visit, model: Program) -> None:
    prompt = "\u20ac" * (MAX_PROMPT_BYTES // 3) + "x" * (MAX_PROMPT_BYTES % 3)
    opened.ask(prompt)
    opened.expect_ended("Done")
    opened.expect_shown(f"{prompt} ")
    assert seen_by_model(model, "ended", opened.session_id)["prompt"] == prompt


def test_example_is_asked_with_one_click(opened: Visit) -> None:
    example = opened.page.get_by_role("list", name="Examples").get_by_role("button").first
    words = example.inner_text()
    opened.prompt.fill("a draft")
    example.click()
    opened.expect_ended("Done")
    expect(opened.prompt).to_have_value("a draft")
    expect(opened.shown_prompt).to_have_text(words)
    expect(example).to_be_hidden()


def test_keyboard_is_enough(opened: Visit) -> None:
    keyboard = opened.page.keyboard
    expect(opened.prompt).to_be_focused()
    keyboard.type("endless")
    keyboard.press("Shift+Enter")
    expect(opened.prompt).to_have_value("endless\n")
    keyboard.press("Backspace")
    keyboard.press("Tab")
    expect(opened.send).to_be_focused()
    keyboard.press("Enter")
    expect(opened.state).to_have_text("Streaming")
    expect(opened.stop).to_be_focused()
    keyboard.press("Space")
    opened.expect_ended("Stopped by you")
    expect(opened.send).to_be_focused()
    keyboard.press("Shift+Tab")
    expect(opened.prompt).to_be_focused()
    keyboard.press("Shift+Tab")
    expect(opened.again).to_be_focused()
    keyboard.press("Enter")
    expect(opened.prompt).to_have_value("endless")


def test_focus_is_visible_wherever_it_goes(opened: Visit) -> None:
    outline = """() => {
        const focused = document.activeElement;
        return getComputedStyle(focused.closest(".field:has(textarea:focus)") ?? focused).outline;
    }"""
    for stop in ("prompt box", "third example", "second example", "first example"):
        assert "solid" in opened.page.evaluate(outline), stop
        opened.page.keyboard.press("Shift+Tab")
    expect(opened.page.get_by_role("link", name="Skip to the prompt box")).to_be_in_viewport()
    assert "solid" in opened.page.evaluate(outline)
    opened.page.keyboard.press("Enter")
    expect(opened.prompt).to_be_focused()


def test_screen_reader_hears_of_states_and_not_of_tokens(opened: Visit) -> None:
    opened.page.evaluate(
        """() => {
            window.heard = [];
            const announcer = document.getElementById("announcer");
            const listen = () => window.heard.push(announcer.textContent);
            new MutationObserver(listen).observe(announcer, { childList: true });
        }"""
    )
    opened.ask("endless")
    expect(opened.answer).to_have_attribute("aria-busy", "true")
    expect(opened.answer).to_contain_text("line 50\n", use_inner_text=True)
    opened.page.keyboard.press("Escape")
    opened.expect_ended("Stopped by you")
    *running, ended = opened.page.evaluate("window.heard")
    assert running == ["Waiting for the first token.", "Streaming."]
    assert re.fullmatch(r"Stopped by you\. \d+ tokens in [\d.]+ s\.", ended)
    live = opened.page.locator("[aria-live], [role=status], [role=log], [role=alert]")
    assert live.locator(".answer").count() == 0
    expect(opened.page.get_by_role("article", name="Prompt 1")).to_be_visible()


def test_reader_who_scrolled_up_is_left_in_peace(opened: Visit) -> None:
    page = opened.page
    at_end = "() => innerHeight + scrollY >= document.documentElement.scrollHeight - 1"
    opened.ask("endless")
    expect(opened.answer).to_contain_text("line 60\n", use_inner_text=True)
    page.wait_for_function(at_end)
    page.mouse.move(400, 200)
    page.mouse.wheel(0, -200)
    page.wait_for_function(f"() => !({at_end})()")
    place, height = page.evaluate("[scrollY, document.documentElement.scrollHeight]")
    page.wait_for_function(
        "height => document.documentElement.scrollHeight > height + 400", arg=height
    )
    assert page.evaluate("scrollY") <= place
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    place = page.evaluate("scrollY")
    page.wait_for_function("place => scrollY > place + 400", arg=place)


def test_page_fits_a_phone(browser: Browser, origin: str, artifacts: Path) -> None:
    with visit(browser, origin, viewport=PHONE, color_scheme="dark") as visited:
        fits = "document.documentElement.scrollWidth <= innerWidth"
        assert visited.page.evaluate(fits)
        visited.ask("wide")
        visited.expect_ended("Done")
        visited.ask("failing")
        visited.expect_ended("Ended with an error")
        visited.prompt.fill("unbreakable" * 900)
        assert visited.page.evaluate(fits)
        expect(visited.send).to_be_in_viewport(ratio=1)
        visited.page.screenshot(path=artifacts / "page-phone-dark.png")


@pytest.mark.parametrize(("motion", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_those_who_mind(
    browser: Browser, origin: str, motion: str, *, moves: bool
) -> None:
    with visit(browser, origin, reduced_motion=motion) as visited:
        visited.ask("silent")
        expect(visited.state).to_have_text("Waiting for the first token")
        running = "document.getAnimations().some(animation => animation.playState === 'running')"
        assert visited.page.evaluate(running) is moves


def test_demo_model_answers_and_is_left(browser: Browser, artifacts: Path) -> None:
    with (
        run_module("relay_model", "--backend", "demo", "--port", "0") as demo_model,
        run_gateway(f"127.0.0.1:{demo_port(demo_model)}") as (gateway, origin),
        visit(browser, origin, viewport={"width": 1000, "height": 700}) as visited,
    ):
        visited.ask("good morning")
        visited.expect_ended("Done")
        visited.expect_shown("Streaming response to: good morning ")
        expect(visited.figure("Speed")).to_have_text(re.compile(r"^\d+\.\d tokens/s$"))
        visited.ask("one two three four five six seven eight nine ten")
        expect(visited.answer).to_contain_text("to: one two")
        visited.page.screenshot(path=artifacts / "page.png")
        visited.page.close()
        gateway.wait_for("client_disconnect")


def demo_port(program: Program) -> str:
    return program.wait_for(r"serving.*127\.0\.0\.1', (\d+)")[1]
