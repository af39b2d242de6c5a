"""The log is written by a thread: a reader that stops, is slow or leaves holds nobody."""

import logging
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from relay_common.background import BackgroundHandler, dropped_lines
from relay_common.log import write_in_background

PROGRAM = """
import logging
from relay_common.log import LogSettings, configure_logging
configure_logging(LogSettings())
for number in range(NUMBER):
    logging.getLogger("x").warning("line %d %s", number, "x" * SIZE)
print("through", flush=True)
"""


@pytest.mark.parametrize(("number", "size"), [(2000, 100), (50, 2**20)])
def test_pipe_that_nobody_reads_holds_neither_the_program_nor_its_exit(
    number: int, size: int
) -> None:
    reader, writer = os.pipe()
    try:
        program = [
            sys.executable,
            "-c",
            PROGRAM.replace("NUMBER", str(number)).replace("SIZE", str(size)),
        ]
        done = subprocess.run(
            program, stdout=subprocess.PIPE, stderr=writer, timeout=60, check=False
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert (done.returncode, done.stdout) == (0, b"through\n")


def line(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text})


def read_line(reader: int) -> str:
    """Read one line, byte by byte, so that the next one stays in the pipe."""
    read = b""
    while not read.endswith(b"\n"):
        assert select.select([reader], [], [], 10)[0], f"nothing comes after {read!r}"
        read += os.read(reader, 1)
    return read.decode().strip()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        with suppress(OSError):
            os.close(descriptor)


def test_closed_pipe_ends_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    before = dropped_lines()
    handler = BackgroundHandler(writer)
    for _ in range(3):
        handler.emit(line("lost"))
    handler.close()
    assert handler.dropped == dropped_lines() - before == 3
    assert not any(thread.name == "relay-log" for thread in threading.enumerate())


def test_line_that_is_written_in_part_is_dropped(pipe: tuple[int, int]) -> None:
    """Its reader leaves in the middle of it."""
    reader, writer = pipe
    handler = BackgroundHandler(writer)
    handler.emit(line("x" * 2**20))
    assert os.read(reader, 10) == b"x" * 10
    os.close(reader)
    handler.close()
    assert handler.dropped == 1


def test_lines_that_do_not_fit_are_counted_and_reported(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = BackgroundHandler(writer, max_buffered=20)
    handler.emit(line("short"))
    handler.emit(line("longer than the whole buffer"))
    handler.close()
    os.close(writer)
    with os.fdopen(os.dup(reader), "rb") as log:
        lines = log.read().splitlines()
    assert handler.dropped == 1
    assert lines == [b"short", b"1 log lines dropped"]


def test_drop_is_reported_when_no_further_line_comes(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = BackgroundHandler(writer, max_buffered=20)
    handler.emit(line("longer than the whole buffer"))
    assert read_line(reader) == "1 log lines dropped"
    handler.emit(line("short"))
    assert read_line(reader) == "short"
    handler.close()


def test_slow_reader_gets_what_fits_in_order_and_one_report_a_gap(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = BackgroundHandler(writer, max_buffered=2**18)
    size = 1000
    number = 600  # more than the pipe and the buffer hold
    for each in range(number):
        handler.emit(line(f"{each:04}" + "x" * (size - 5)))
    dropped = handler.dropped
    assert 100 < dropped < number
    kept = [read_line(reader)[:4] for _ in range(number - dropped)]
    assert kept == [f"{each:04}" for each in range(number - dropped)]
    assert read_line(reader) == f"{dropped} log lines dropped"
    handler.emit(line("flows again"))
    assert read_line(reader) == "flows again"
    handler.close()


def test_full_buffer_takes_lines_again_when_half_of_it_is_written(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = BackgroundHandler(writer, max_buffered=2**18)
    while not handler.dropped:
        handler.emit(line("x" * 999))
    for _ in range(20):  # room for lines, but not half of the buffer
        assert read_line(reader) == "x" * 999
    handler.emit(line("lost"))
    assert handler.dropped == 2
    while (text := read_line(reader)) != "2 log lines dropped":
        assert text == "x" * 999
    handler.close()


def test_closed_handler_takes_nothing_and_waits_for_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = BackgroundHandler(writer)
    handler.emit(line("before"))
    handler.close()
    for _ in range(3):
        handler.emit(line("after"))
    handler.close()
    assert handler.dropped == 3
    assert read_line(reader) == "before"


def test_forked_child_logs_for_itself(pipe: tuple[int, int]) -> None:
    """Even if a thread of the parent held the handler's lock, and had lines that waited."""
    program = FORKING.replace("DESCRIPTOR", str(pipe[1]))
    done = subprocess.run(
        [sys.executable, "-c", program], pass_fds=[pipe[1]], timeout=30, check=False
    )
    assert done.returncode == 0
    lines = [read_line(pipe[0]) for _ in range(3)]
    assert lines == ["of the child", "1 log lines dropped", "of the parent"]


FORKING = """
import logging, os
from relay_common import background
from relay_common.background import BackgroundHandler
handler = BackgroundHandler(DESCRIPTOR)
logging.basicConfig(handlers=[handler], format="%(message)s")
with handler._changed, background._Total.lock:
    child = os.fork()
if not child:
    logging.warning("of the child")
    logging.warning("x" * 5 * 2**20)
    assert handler.dropped == 1
    logging.shutdown()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
logging.warning("of the parent")
"""


def test_librarys_log_is_written_in_the_background(pipe: tuple[int, int]) -> None:
    logger = logging.getLogger("of a library")
    with os.fdopen(os.dup(pipe[1]), "w") as stream:
        logger.addHandler(logging.StreamHandler(stream))
        logger.handlers[0].setFormatter(logging.Formatter("its own form: %(message)s"))
        logger.addHandler(logging.NullHandler())
        write_in_background(logger)
        assert sorted(type(each).__name__ for each in logger.handlers) == [
            "BackgroundHandler",
            "NullHandler",
        ]
        logger.warning("line")
        assert read_line(pipe[0]) == "its own form: line"
        for handler in logger.handlers:
            handler.close()
