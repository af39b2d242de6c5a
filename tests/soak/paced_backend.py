"""A backend whose prompt says how often a word comes: "0.02" is one every 20 ms, without an end."""

from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from relay_model.conversation import Conversation

__all__ = ["answer", "installed"]

_ENTRY_POINT = f"[token_relay.backends]\npaced = {__name__}:answer\n"


async def answer(conversation: Conversation) -> AsyncGenerator[str]:  # noqa: ASYNC900 - the service closes it
    """Give the first word at once, and then one after each pause."""
    interval = float(conversation.prompt)
    while True:
        yield "word "
        await anyio.sleep(interval)


@contextmanager
def installed() -> Generator[str]:
    """Make a folder for Python's path that has the metadata of a package with this backend."""
    with TemporaryDirectory() as folder:
        metadata = Path(folder, "paced_backend-1.0.dist-info")
        metadata.mkdir()
        lines = ("Metadata-Version: 2.1", "Name: paced-backend", "Version: 1.0", "")
        (metadata / "METADATA").write_text("\n".join(lines), encoding="utf-8")
        (metadata / "entry_points.txt").write_text(_ENTRY_POINT, encoding="utf-8")
        yield folder
