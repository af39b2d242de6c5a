"""Importing a module of the gateway does nothing: no environment, no patch, no application."""

import os
import subprocess
import sys

import pytest

#: What would be wrong if anybody read it.
WRONG = {"RELAY_PORT": "abc", "RELAY_MODEL_TARGET": "nowhere"}


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **WRONG, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


def test_an_encoder_is_imported_without_a_server() -> None:
    done = run(
        "import sys, relay_gateway.relay.sse\n"
        "servers = {'quart', 'hypercorn', 'quart_trio', 'h2', 'pydantic', 'betterproto'}\n"
        "print(sorted(servers & set(sys.modules)))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("module", ["web.asgi", "web.routes", "server.patch", "serving"])
def test_nothing_is_patched_or_built(module: str) -> None:
    done = run(
        "import hypercorn.trio.run as run\n"
        "before = dict(vars(run))\n"
        f"import relay_gateway.{module}, relay_gateway\n"
        "print(before == dict(vars(run)), relay_gateway.app._built)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True None\n", "")


def test_the_application_is_built_when_it_is_loaded() -> None:
    """Once, and before hypercorn looks up its worker."""
    done = run(
        "import hypercorn.trio.run as run\n"
        "from hypercorn.utils import load_application\n"
        "worker = run.worker_serve\n"
        "load_application('relay_gateway:app', 2**16)\n"
        "import relay_gateway\n"
        "built = relay_gateway.app._built\n"
        "load_application('relay_gateway:app', 2**16)\n"
        "print(run.worker_serve is not worker, relay_gateway.app._built is built)",
        RELAY_PORT="0",
        RELAY_MODEL_TARGET="127.0.0.1:1",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True True\n", "")
