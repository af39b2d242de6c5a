"""`relay-demo`: whose settings it reads, and what it says about wrong ones."""

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from relay_common.errors import EXIT_USAGE
from relay_demo.__main__ import main
from relay_gateway.settings import GatewaySettings
from relay_model.settings import ModelSettings

COMMAND = (sys.executable, "-m", "relay_demo")

# Seconds; only a program that hangs takes as long.
PATIENCE = 20


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no variable of the relay."""
    for prefix, settings in (("RELAY_", GatewaySettings), ("RELAY_MODEL_", ModelSettings)):
        for name in settings.model_fields:
            monkeypatch.delenv(f"{prefix}{name.upper()}", raising=False)
            monkeypatch.delenv(f"RELAY_DEMO_{name.upper()}", raising=False)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Give the one line that a start is refused with."""
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == EXIT_USAGE
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.strip()


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        # Of the demo itself.
        ("RELAY_DEMO_PORT", "abc", "--port (RELAY_DEMO_PORT)"),
        ("RELAY_DEMO_DEMO_DELAY", "-1", "--demo-delay (RELAY_DEMO_DEMO_DELAY)"),
        # Of the gateway and of the model, where the demo has a flag.
        ("RELAY_PORT", "abc", "--port (RELAY_PORT)"),
        ("RELAY_MODEL_BACKEND", "magic", "--backend (RELAY_MODEL_BACKEND)"),
        ("RELAY_MODEL_DEMO_DELAY", "inf", "--demo-delay (RELAY_MODEL_DEMO_DELAY)"),
        # Of theirs alone: a flag of that name would be refused.
        ("RELAY_DEADLINE_SECONDS", "0", "RELAY_DEADLINE_SECONDS"),
        ("RELAY_MODEL_MAX_QUEUED", "-1", "RELAY_MODEL_MAX_QUEUED"),
        # Also where the demo decides, because a wrong value is a mistake all the same.
        ("RELAY_MODEL_PORT", "abc", "RELAY_MODEL_PORT"),
        ("RELAY_MODEL_TARGET", "abc", "RELAY_MODEL_TARGET"),
    ],
)
def test_a_wrong_variable_is_one_line_of_the_demos(
    variable: str,
    value: str,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    assert refusal(capsys).startswith(f"relay-demo: error: {named}: ")


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--port=abc", "--port (RELAY_DEMO_PORT)"),
        ("--backend=magic", "--backend (RELAY_MODEL_BACKEND)"),
    ],
)
def test_a_wrong_flag_is_one_line_of_the_demos(
    flag: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, flag).startswith(f"relay-demo: error: {named}: ")


def test_help_looks_at_no_variable_of_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELAY_PORT", "abc")
    monkeypatch.setenv("RELAY_MODEL_PORT", "abc")
    with pytest.raises(SystemExit) as raised:
        main(["--help"])
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith("usage: relay-demo ")


def test_a_missing_model_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the model service choose what answers."""
    monkeypatch.setenv("RELAY_MODEL_BACKEND", "openai")
    monkeypatch.setenv("RELAY_MODEL_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("RELAY_PORT", "0")
    result = subprocess.run(
        COMMAND, capture_output=True, encoding="utf-8", timeout=PATIENCE, check=False
    )
    line = "relay-demo: error: the openai backend needs --model (RELAY_MODEL_MODEL)\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", line)


@contextmanager
def demo(monkeypatch: pytest.MonkeyPatch) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run the program on a free port with a quick model; give it, and the address of its page."""
    monkeypatch.setenv("RELAY_PORT", "0")
    monkeypatch.setenv("RELAY_MODEL_DEMO_DELAY", "0")
    with subprocess.Popen(COMMAND, stderr=subprocess.PIPE, encoding="utf-8") as process:
        try:
            assert process.stderr is not None
            url = next(filter(None, (re.search(r"url='(http:[^']+/)'", x) for x in process.stderr)))
            yield process, url[1]
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()


def get(url: str, **headers: str) -> tuple[int, str]:
    """Ask our own server; give the status and the body."""
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_what_no_flag_sets_the_environment_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is where `RELAY_PORT` says; its model is as quick as `RELAY_MODEL_…` says."""
    with demo(monkeypatch) as (process, url):
        _, events = get(f"{url}api/ai/stream?prompt=hi")
    assert not url.endswith(":8080/")
    assert "data: hi" in events
    assert "event: done" in events
    assert process.returncode == 130


def test_another_site_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with demo(monkeypatch) as (_, url):
        ask = f"{url}api/ai/stream?prompt=hi"
        own = get(ask, Origin=url.rstrip("/"))
        rebound = get(ask, Host="rebound.example")
        other = get(ask, Origin="https://elsewhere.example")
        image = get(ask, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"})
    assert own[0] == 200
    assert [rebound[0], other[0], image[0]] == [403] * 3
    assert "data:" not in rebound[1] + other[1] + image[1]
