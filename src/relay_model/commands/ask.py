"""``relay-model ask``: a client for a terminal, which streams one answer from a running service.

It exits with 0 after a complete answer and not otherwise. Ctrl-C resets the call, so that the model
stops, and it exits with 130; after SIGTERM with 143. With 2 when the command line is wrong and with
1 when the answer failed or was cut short, in either case after one line on stderr.
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
from grpclib_anyio.client import Channel
from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from relay_common.cli import fail, parse_settings
from relay_common.errors import EXIT_FAILURE, StartupError
from relay_common.log import LogSettings, configure_logging
from relay_common.running import run
from relay_common.target import Target, parse_target
from relay_proto.ai import AiServiceStub, GenerateRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from relay_proto.ai import GenerateResponse

__all__ = ["AskSettings", "main"]

_PROGRAM = "relay-model ask"

# What could move the cursor, or worse: C0 and C1 controls, but for a tab and a line break.
_CONTROLS = dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0)} - {ord("\t"), ord("\n")}, "\N{REPLACEMENT CHARACTER}"
)


# What a shell expects of a command that SIGTERM ended.
_TERMINATED = 128 + signal.SIGTERM


class AskSettings(LogSettings):
    """Ask a running model service, and write its answer as it comes."""

    # --help opens with the line above.

    model_config = SettingsConfigDict(
        env_prefix="RELAY_MODEL_",
        cli_prog_name=_PROGRAM,
        cli_parse_none_str="\0",  # no argument can be that; "null" is a prompt like any other
    )

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
    async with Channel(host, port) as channel:  # leaving it resets a call that is under way
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
    """Write an answer to its end; give the error that it ended with."""
    ending: GRPCError | None = GRPCError(Status.DATA_LOSS, "The answer was cut short.")
    try:
        async for message in answer:
            await terminal.write(message.token)
            if message.done:
                ending = None
    except GRPCError as error:
        ending = error
    await terminal.end_line()
    return ending


def _describe(error: GRPCError) -> str:
    text = f"{error.status.name}: {error.message or 'no reason given'}"
    delays = [each.retry_delay for each in error.details or () if isinstance(each, RetryInfo)]
    return f"{text} (in {delays[0].ToTimedelta().total_seconds():g} s)" if delays else text


class _Terminal:
    """Standard output, written to at once and past the interpreter's own buffer.

    That buffer would still be locked as the program ends, if what reads our output has stopped
    doing so and a write waits for it.
    """

    def __init__(self) -> None:
        self._descriptor = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding
        self._is_terminal = sys.stdout.isatty()
        self._is_in_line = False

    async def write(self, text: str) -> None:
        """Write text; what could steer a terminal does not come through to one.

        Raises:
            OSError: nobody reads it any more.

        """
        if self._is_terminal:
            text = text.translate(_CONTROLS)
        rest = text.encode(self._encoding, "replace")
        while rest:
            # Cancelled, it leaves the thread behind: there is no other way out of a write that
            # waits, and the process ends at once after it.
            written = await anyio.to_thread.run_sync(
                os.write, self._descriptor, rest, abandon_on_cancel=True
            )
            rest = rest[written:]
        self._is_in_line = self._is_in_line if not text else not text.endswith("\n")

    async def end_line(self) -> None:
        """Have what comes next stand in a line of its own."""
        if self._is_in_line:
            await self.write("\n")


if __name__ == "__main__":
    sys.exit(main())
