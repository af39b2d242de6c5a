"""hypercorn exits with code 0 when a worker was killed, and when an application does not load."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

APP = """
import os, signal

# Ends by hypercorn's own shutdown, which takes a moment. Killed by the signal that comes next, the
# worker is a race: it may have ended when hypercorn asks for its exit code.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

async def app(scope, receive, send):
    assert scope["type"] == "http"  # no lifespan
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
DEADLINE = time.monotonic() + 13


def hypercorn(folder, *arguments):
    command = [sys.executable, "-m", "hypercorn", "--worker-class", "trio", *arguments]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True)


def exit_code(process):
    """Wait for it to end; None if it does not."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(max(0, DEADLINE - time.monotonic()))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return None


def kill_one_worker(address):
    """Kill the one that answers."""
    while time.monotonic() < DEADLINE:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://{address}/", timeout=1) as response:
                os.kill(int(response.read()), signal.SIGKILL)
                return
        time.sleep(0.05)


with tempfile.TemporaryDirectory() as folder:
    Path(folder, "program.py").write_text(APP)
    Path(folder, "broken.py").write_text("raise RuntimeError\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = hypercorn(folder, "--bind", address, "--workers", "2", "program:app")
    kill_one_worker(address)
    killed = exit_code(server)
    not_loaded = exit_code(hypercorn(folder, "--bind", "127.0.0.1:0", "broken:app"))

print(
    "FAULT: exit code 0 when loading failed, and when one of two workers was killed"
    if not_loaded == killed == 0
    else f"NO FAULT: exit code {not_loaded} when loading failed, {killed} when a worker was killed"
)
