"""``relay-model ask``: a client for a terminal, which streams one answer from a running service.

For example ``relay-model ask --target 127.0.0.1:50052 "Why is the sky blue?"``.

The exit code is 0 only after a complete answer. Ctrl-C resets the call, so that the model stops,
and the exit code is 130; after SIGTERM it is 143. It is 2 when the command line is wrong, and 1
when the answer failed or was cut short; both after one line on stderr.
"""

import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
from google.rpc.error_details_pb2 import RetryInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from grpclib_anyio.client import Channel
from relay_common.cli import fail, parse_settings
from relay_common.errors import EXIT_FAILURE, StartupError
from relay_common.log import LogSettings, configure_logging
from relay_common.running import run
from relay_common.target import Target, parse_target
from relay_model.settings import ModelSettings
from relay_proto.ai import AiServiceStub, GenerateRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from relay_proto.ai import GenerateResponse

__all__ = ["AskSettings", "main"]

_PROGRAM = "relay-model ask"

# Characters that can move the cursor or change the terminal's state: the C0 and C1 controls, except
# for tab and line feed. Each is replaced.
_CONTROLS = dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0)} - {ord("\t"), ord("\n")}, "\N{REPLACEMENT CHARACTER}"
)

# The exit code that shells use for a command that SIGTERM ended.
_TERMINATED = 128 + signal.SIGTERM


class AskSettings(LogSettings):
    """Ask a running model service, and write its answer as it comes."""

    # --help opens with the line above.

    model_config = SettingsConfigDict(
        env_prefix="RELAY_MODEL_",
        cli_prog_name=_PROGRAM,
        cli_parse_none_str="\0",  # no argument can be that; "null" is a prompt like any other
    )

    other_variables = frozenset(map(str.upper, ModelSettings.model_fields))

    prompt: CliPositionalArg[str] = Field(description="what to ask", min_length=1)
    target: Target = Field(default="127.0.0.1:50051", description="HOST:PORT of the service")
    session_id: str = Field(default="", description="the conversation that the prompt belongs to")
    deadline_seconds: float = Field(
        default=180.0, gt=0, allow_inf_nan=False, description="the longest that the answer may take"
    )


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: the command line after the command's name.

    """
    settings = parse_settings(AskSettings, arguments)
    configure_logging(settings)
    try:
        return run(partial(_ask, settings), terminated=_TERMINATED)
    except StartupError as error:
        fail(_PROGRAM, error)


async def _ask(settings: AskSettings) -> None:
    host, port = parse_target(settings.target)
    request = GenerateRequest(prompt=settings.prompt, session_id=settings.session_id)
    terminal = _Terminal()
    async with Channel(host, port) as channel:  # leaving it resets an open call
        answer = AiServiceStub(channel).generate(request, timeout=settings.deadline_seconds)
        try:
            failure = await _show(answer, terminal)
        except OSError as error:
            message = f"cannot write the answer: {(error.strerror or str(error)).lower()}"
            raise StartupError(message, exit_code=EXIT_FAILURE) from error
    if failure is not None:
        raise StartupError(_describe(failure), exit_code=EXIT_FAILURE) from failure


async def _show(
    answer: "AsyncIterator[GenerateResponse]", terminal: "_Terminal"
) -> GRPCError | None:
    """Write an answer to its end; return the error that it ended with, if any."""
    failure: GRPCError | None = GRPCError(Status.DATA_LOSS, "The answer was cut short.")
    try:
        async for message in answer:
            await terminal.write(message.token)
            if message.done:
                failure = None
    except GRPCError as error:
        failure = error
    await terminal.end_line()
    return failure


def _describe(error: GRPCError) -> str:
    text = f"{error.status.name}: {error.message or 'no reason given'}"
    delays = [each.retry_delay for each in error.details or () if isinstance(each, RetryInfo)]
    return f"{text} (in {delays[0].ToTimedelta().total_seconds():g} s)" if delays else text


class _Terminal:
    """Standard output, without the interpreter's buffer.

    A write blocks when the program that reads our output stops reading. The buffer would then be
    locked, and the interpreter could not flush it at exit.
    """

    def __init__(self) -> None:
        self._descriptor = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding
        self._is_terminal = sys.stdout.isatty()
        self._is_in_line = False

    async def write(self, text: str) -> None:
        """Write text; to a terminal, without characters that could control it.

        A checkpoint, unless the text is empty. A cancelled write may have written a part.

        Raises:
            OSError: the other end of the pipe is closed, for example.

        """
        if self._is_terminal:
            text = text.translate(_CONTROLS)
        rest = text.encode(self._encoding, "replace")
        while rest:
            # A cancellation abandons the thread, because a blocked write cannot be stopped. The
            # process ends right after it.
            written = await anyio.to_thread.run_sync(
                os.write, self._descriptor, rest, abandon_on_cancel=True
            )
            rest = rest[written:]
        self._is_in_line = self._is_in_line if not text else not text.endswith("\n")

    async def end_line(self) -> None:
        """Write a line feed, unless the last text ended with one."""
        if self._is_in_line:
            await self.write("\n")


if __name__ == "__main__":
    sys.exit(main())
