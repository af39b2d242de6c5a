"""hypercorn exits with code 0 when one of its workers was killed."""

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


def pid_of_a_worker(address):
    """Return that of the one that answers, once there is one."""
    while True:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://{address}/", timeout=1) as response:
                return int(response.read())
        time.sleep(0.05)


def give_up(*_):
    os.killpg(hypercorn.pid, signal.SIGKILL)
    sys.exit("not decided within 14 s")


with socket.create_server(("127.0.0.1", 0)) as free:
    address = f"127.0.0.1:{free.getsockname()[1]}"
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "program.py").write_text(APP)
    command = [sys.executable, "-m", "hypercorn", "--bind", address, "--workers", "2"]
    command += ["--worker-class", "trio", "program:app"]
    hypercorn = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True
    )
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(14)
    os.kill(pid_of_a_worker(address), signal.SIGKILL)
    code = hypercorn.wait()

print(
    "FAULT: exit code 0 after one of two workers was killed"
    if code == 0
    else f"NO FAULT: exit code {code} after one of two workers was killed"
)
