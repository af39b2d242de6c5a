"""HPACK (RFC 7541) that remembers what it has written and read: calls of one channel look alike.

hpack looks each header up by walking over its table, tells a log that is off of each step, and does
so for the same ten headers of each call. Here a header is written from memory once it has a number
in the table, and a block that consists of such numbers is read from memory. For example, the second
request of a channel::

    (":method", "POST")              →  83         one byte, from memory
    ("content-type", …)              →  be         one byte, from memory
    ("grpc-timeout", "4999871u")     →  00 …       in full, and not put into the table

All of it is forgotten whenever the table changes, because numbers count from its newest entry.

Headers with another value for each call are kept out of the table. There they would serve no
call, move all numbers, and in the end drive out what serves every call.

The table has a bound of ours. A peer may allow one of 4 GiB, which every response would fill.
"""

from collections.abc import Iterable
from typing import Any

from hpack import (
    Decoder,
    Encoder,
    HeaderTuple,
    HPACKDecodingError,
    NeverIndexedHeaderTuple,
    OversizedHeaderListError,
)
from hpack.hpack import decode_integer, encode_integer
from hpack.huffman_table import decode_huffman

__all__ = ["HeaderDecoder", "HeaderEncoder"]

#: RFC 7541 § 6.1: the bit of a header that is all in the table, and of nothing else.
_INDEXED = 0x80
#: § 6.2.1, § 6.2.3 and § 6.3: the bits of a header that is put into the table, of one that nobody
#: may put into one, and of the table's new size.
_ADDED, _NEVER_ADDED, _SIZE_UPDATE = 0x40, 0x10, 0x20
_KIND = _INDEXED | _ADDED | _SIZE_UPDATE
#: Bits of the first byte that begin the number of the name.
_ADDED_BITS, _OTHER_BITS = 6, 4
#: § 6.2.2: a header that is not to be put into it, its name in full.
_WITHOUT_INDEXING = b"\0"
_LENGTH_BITS = 7
#: Bytes that are shown to hpack of a number; it takes no longer ones.
_MAX_INTEGER_SIZE = 16
#: Bits of the longest code of a byte (RFC 7541 appendix B).
_LONGEST_CODE = 30
#: RFC 9113 § 6.5.2: what a header counts beyond its name and value.
_OVERHEAD = 32
#: Headers that are read although their list is too large: five milliseconds of work.
_MAX_READ = 2_048
#: Changes of the table's size in a block: the smallest size that there was, and the last (§ 4.2).
_MAX_SIZE_UPDATES = 2
#: Bytes of the encoder's table at most, whatever the peer allows (§ 4.2 lets the encoder use less).
#: It is the size that a peer has before it says anything, so that most need not be told of it.
_MAX_TABLE_SIZE = 4_096
_NEW_EACH_TIME = frozenset({"grpc-timeout", "traceparent"})
#: Bytes of a header that hpack's Huffman coder is given, whose time grows with their square: 256
#: take it 50 µs, and 64 KiB would take 400 ms. A longer one is written as it is, which is linear.
_MAX_HUFFMAN_SIZE = 256
#: Bytes of a header that is put into the table, of which it would soon be all that is left.
_MAX_INDEXED_SIZE = _MAX_TABLE_SIZE // 4
#: Different blocks that are remembered; a bound, because a peer may think of many.
_MAX_BLOCKS = 64
#: Bytes of such a block, and so its headers. A call has about ten.
_MAX_KNOWN_SIZE = 128


class HeaderEncoder(Encoder):
    """hpack's encoder with a memory."""

    def __init__(self) -> None:
        """Start with the static table."""
        super().__init__()
        #: What each header is encoded as, as long as the table stays as it is.
        self._known: dict[Any, bytes] = {}

    @property
    def header_table_size(self) -> int:
        """Bytes of headers that the table holds, each counted with 32 more (RFC 7541 § 4.1)."""
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        """Let the table be as large as the peer allows (``value``), and as our own bound does.

        The peer is told with the next block: of the smallest size that there was since the last
        block, because that has driven headers out, and of the last one (§ 4.2). hpack would write
        each of them, and forgets a change if the same size is set again.
        """
        size = min(value, _MAX_TABLE_SIZE)
        if size != self.header_table.maxsize:
            self.header_table.maxsize = size
            self.table_size_changes = sorted({min([size, *self.table_size_changes]), size})
            self._known.clear()

    def encode(self, headers: Iterable[Any], huffman: bool = True) -> bytes:  # noqa: FBT001, FBT002, ARG002 - hpack's signature
        """Encode pairs of strings, or of bytes, in their order."""
        known = self._known
        block = b"".join([known.get(header) or self._encode(header) for header in headers])
        if self.table_size_changes:
            return self._encode_table_size_change() + block
        return block

    def _encode(self, header: tuple[str | bytes, str | bytes]) -> bytes:
        name, value = _to_bytes(header[0]), _to_bytes(header[1])
        size = len(name) + len(value)
        if header[0] in _NEW_EACH_TIME or size > _MAX_INDEXED_SIZE:
            return _WITHOUT_INDEXING + _literal(name) + _literal(value)
        block = self.add((name, value), sensitive=False, huffman=size <= _MAX_HUFFMAN_SIZE)
        if block[0] & _INDEXED:
            self._known[header] = block
        else:  # it has been added to the table
            self._known.clear()
        return block


class HeaderDecoder(Decoder):
    """hpack's decoder with a memory."""

    def __init__(self) -> None:
        """Start with the static table."""
        super().__init__()
        self._known: dict[bytes, list[HeaderTuple]] = {}
        #: What is known of blocks beyond hpack; forgotten with the rest.
        self.notes: dict[bytes, Any] = {}

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:  # noqa: FBT001, FBT002 - hpack's signature
        """Decode a block, as pairs of bytes if ``raw``.

        Raises:
            OversizedHeaderListError: the list is too large; the block has been read to its end, so
                later blocks can be read.
            HPACKError: the block is malformed; its connection cannot go on.

        """
        if not raw:
            self._forget()
            return super().decode(data, raw)
        known = self._known.get(data)
        if known is None:
            known = self._decode(data)
        return known[:]

    def _decode(self, data: bytes) -> list[HeaderTuple]:
        # Bytes that all have this bit are indices, and change nothing.
        is_indexed = bool(data) and min(data) >= _INDEXED
        if not is_indexed or len(self._known) >= _MAX_BLOCKS:
            self._forget()
        headers = self._read(data)
        if is_indexed and len(data) <= _MAX_KNOWN_SIZE:
            self._known[data] = headers
        return headers

    def _read(self, data: bytes) -> list[HeaderTuple]:
        """Read a block to its end, because the table depends on it; keep a list that is small.

        The time is in proportion to the block, while hpack copies the rest of it for each header.
        It has a bound as well, which no list reaches that is small enough.
        """
        headers: list[HeaderTuple] = []
        position, size, most = 0, 0, self.max_header_list_size
        for _ in range(max(_MAX_READ, most // _OVERHEAD) + _MAX_SIZE_UPDATES):
            if position == len(data):
                break
            if data[position] & _KIND == _SIZE_UPDATE:
                position += self._read_size_update(data, position, is_first=not size)
                continue
            header, position = self._read_header(data, position, keeps=size <= most)
            size += len(header[0]) + len(header[1]) + _OVERHEAD
            headers.append(header)
            if size > most:
                headers.clear()
        if position < len(data):
            raise HPACKDecodingError("More headers than any list may have")
        self._assert_valid_table_size()
        if size > most:
            raise OversizedHeaderListError("The header list is too large")
        return headers

    def _read_size_update(self, data: bytes, start: int, *, is_first: bool) -> int:
        if not is_first:
            raise HPACKDecodingError("Table size update not at the start of the block")
        return self._update_encoding_context(data[start : start + _MAX_INTEGER_SIZE])

    def _read_header(self, data: bytes, start: int, *, keeps: bool) -> tuple[HeaderTuple, int]:
        """Read the header at ``start``; returns where what follows it begins."""
        first = data[start]
        if first & _INDEXED:
            index, position = _integer(data, start, _LENGTH_BITS)
            return HeaderTuple(*self.header_table.get_by_index(index)), position
        if first & _ADDED:
            name, value, position = self._read_literal(data, start, _ADDED_BITS, keeps=True)
            self.header_table.add(name, value)
            return HeaderTuple(name, value), position
        name, value, position = self._read_literal(data, start, _OTHER_BITS, keeps=keeps)
        header_class = NeverIndexedHeaderTuple if first & _NEVER_ADDED else HeaderTuple
        return header_class(name, value), position

    def _read_literal(
        self, data: bytes, start: int, bits: int, *, keeps: bool
    ) -> tuple[bytes, bytes, int]:
        index, position = _integer(data, start, bits)
        if index:
            name = self.header_table.get_by_index(index)[0]
        else:
            name, position = self._read_text(data, position, keeps=keeps)
        value, position = self._read_text(data, position, keeps=keeps)
        return name, value, position

    def _read_text(self, data: bytes, start: int, *, keeps: bool) -> tuple[bytes, int]:
        length, position = _integer(data, start, _LENGTH_BITS)
        end = position + length
        if end > len(data):
            raise HPACKDecodingError("Truncated header block")
        text = data[position:end]
        if not (keeps and data[start] & _INDEXED):
            return text, end
        # Decoded, a long one would still be too long: for the list, and for the table (§ 4.4).
        longest = max(self.max_header_list_size, _MAX_TABLE_SIZE)
        is_kept = length * 8 // _LONGEST_CODE <= longest
        return decode_huffman(text) if is_kept else text, end

    def knows(self, data: bytes) -> bool:
        """Return whether the block means what it meant the last time."""
        return data in self._known

    def _forget(self) -> None:
        self._known.clear()
        self.notes.clear()


def _integer(data: bytes, start: int, bits: int) -> tuple[int, int]:
    """Decode a number; returns where what follows it begins."""
    number, length = decode_integer(data[start : start + _MAX_INTEGER_SIZE], bits)
    return number, start + length


def _literal(text: bytes) -> bytes:
    return bytes(encode_integer(len(text), _LENGTH_BITS)) + text


def _to_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
