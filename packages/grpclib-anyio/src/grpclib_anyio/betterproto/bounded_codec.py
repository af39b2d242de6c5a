"""A codec that refuses messages of very many parts.

Two bytes may stand for a whole message within a message. A mebibyte of them is half a million
objects, and the event loop waits two seconds for these. For example, in a server::

    server = Server(services, codec=BoundedCodec(max_items=10_000))
"""

from collections.abc import Callable
from typing import Any, cast

import betterproto
from grpclib.const import Status

from grpclib_anyio._base.errors import GRPCError
from grpclib_anyio.betterproto.codec import CompiledCodec, Table

__all__ = ["BoundedCodec"]


class BoundedCodec(CompiledCodec):
    """Decodes as ``CompiledCodec``, up to a number of items in a message."""

    def __init__(self, *, max_items: int) -> None:
        """Start with no class known.

        Args:
            max_items: how many messages, and values of lists, a message may hold at all depths.
                Each takes about 4 µs. Packed lists do not count, nor classes that are left to their
                library.

        """
        super().__init__()
        self._max_items = max_items
        #: Of the message that is being decoded.
        self._items = 0

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message that ``data`` holds.

        Raises:
            Exception: whatever the message's own library raises for malformed data.
            GRPCError: RESOURCE_EXHAUSTED, it holds more than ``max_items``.

        """
        self._items = 0
        return super().decode(data, message_type)

    def _compile(self, message_type: type) -> Table | None:
        table = super()._compile(message_type)
        if table is not None:
            self._count_items_of(table, cast("Any", message_type)._betterproto)  # noqa: SLF001 - there is no other way to it
        return table

    def _count_items_of(self, table: Table, description: Any) -> None:
        metas = description.meta_by_field_name
        for tag, decoder in table.decoders.items():
            is_message = metas[decoder.name].proto_type == betterproto.TYPE_MESSAGE
            if decoder.is_appended or is_message:
                counting = self._counting(decoder.decode)
                table.decoders[tag] = decoder._replace(decode=counting)

    def _counting(self, decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def counted(value: Any) -> Any:
            self._items += 1
            if self._items > self._max_items:
                text = f"The message holds more than {self._max_items} items"
                raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
            return decode(value)

        return counted
