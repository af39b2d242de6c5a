"""The log is written by a thread: a reader that stops, is slow or leaves holds nobody."""

import logging
import os
import subprocess
import sys
import threading

import pytest

from relay_common.background import BackgroundHandler

PROGRAM = """
import logging
from relay_common.log import LogSettings, configure_logging
configure_logging(LogSettings())
for number in range(2000):
    logging.getLogger("x").warning("line %d %s", number, "x" * SIZE)
print("through", flush=True)
"""


@pytest.mark.parametrize("size", [100, 2**20])
def test_pipe_that_nobody_reads_holds_neither_the_program_nor_its_exit(size: int) -> None:
    reader, writer = os.pipe()
    try:
        program = [sys.executable, "-c", PROGRAM.replace("SIZE", str(size))]
        done = subprocess.run(
            program, stdout=subprocess.PIPE, stderr=writer, timeout=60, check=False
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert (done.returncode, done.stdout) == (0, b"through\n")


def test_closed_pipe_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    handler = BackgroundHandler(writer)
    handler.emit(logging.makeLogRecord({"msg": "lost"}))
    handler.close()
    os.close(writer)
    assert handler.dropped == 0
    assert not any(thread.name == "relay-log" for thread in threading.enumerate())


def test_lines_that_do_not_fit_are_counted_and_reported() -> None:
    reader, writer = os.pipe()
    handler = BackgroundHandler(writer, max_buffered=10)
    handler.emit(logging.makeLogRecord({"msg": "longer than the buffer"}))
    handler.emit(logging.makeLogRecord({"msg": "short"}))
    handler.close()
    os.close(writer)
    with os.fdopen(reader, "rb") as log:
        lines = log.read().splitlines()
    assert handler.dropped == 1
    assert lines == [b"short", b"1 log lines dropped"]
