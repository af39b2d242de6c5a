"""HPACK with a memory, held equal to hpack: it means the same, whatever came before."""

from typing import cast

import pytest
from hpack import Decoder, Encoder, HeaderTuple, OversizedHeaderListError
from hypothesis import strategies as st

from grpclib_anyio._fast.hpack_cache import HeaderDecoder, HeaderEncoder
from test_fuzz import fuzzed

Headers = list[tuple[str, str]]

CALL: Headers = [
    (":method", "POST"),
    (":path", "/ai.AIService/Generate"),
    ("te", "trailers"),
    ("grpc-timeout", "180S"),
    ("traceparent", "00-" + 32 * "a"),
]
#: The largest size of a table that a peer can allow.
UNBOUNDED = 2**32 - 1
HEADER = st.one_of(
    st.sampled_from(CALL),
    st.tuples(
        st.sampled_from(("grpc-timeout", "traceparent", "a", "b", "te", ":path")),
        st.one_of(
            st.sampled_from(("", "1", "2", "x" * 200, "x" * 500, "x" * 1_100)), st.text(max_size=5)
        ),
    ),
)
STEPS = st.lists(
    st.one_of(st.lists(HEADER, max_size=6), st.sampled_from((0, 40, 100, 4_096, UNBOUNDED))),
    max_size=30,
)


def decoded(decoder: Decoder, block: bytes) -> list[HeaderTuple]:
    return cast("list[HeaderTuple]", decoder.decode(block, raw=True))


def pairs(headers: list[HeaderTuple]) -> Headers:
    return [(name.decode(), value.decode()) for name, value in headers]


@fuzzed(STEPS)
def test_what_is_encoded_means_the_same_to_hpack(steps: list[Headers | int]) -> None:
    """Also when the peer changes the size of the table."""
    encoder, decoder = HeaderEncoder(), Decoder()
    for step in steps:
        if isinstance(step, int):
            encoder.header_table_size = step
        else:
            block = encoder.encode(step)
            assert pairs(decoded(decoder, block)) == step
            assert decoder.header_table_size <= 4_096
            assert list(encoder.header_table.dynamic_entries) == list(
                decoder.header_table.dynamic_entries
            )


@fuzzed(STEPS)
def test_what_hpack_encodes_means_the_same_here(steps: list[Headers | int]) -> None:
    """The same blocks over and over among them."""
    encoder, decoder, model = Encoder(), HeaderDecoder(), Decoder()
    for step in steps:
        if isinstance(step, int):
            encoder.header_table_size = min(step, 4_096)  # what the decoders allow
            encoder.header_table.resized = True  # hpack forgets that it was, if it is told twice
        else:
            for _ in range(3):
                block = encoder.encode(step)
                assert decoded(decoder, block) == decoded(model, block)


def size_updates(block: bytes) -> list[int]:
    """Return the sizes of the table that a block begins with; all of those here need a byte."""
    sizes: list[int] = []
    while block and block[0] & 0xE0 == 0x20:
        sizes.append(block[0] & 0x1F)
        block = block[1:]
    return sizes


@pytest.mark.parametrize(
    ("changes", "announced"),
    [
        ((16,), [16]),
        ((16, 16), [16]),
        ((16, 8, 24, 12), [8, 12]),
        ((16, 8), [8]),
        ((8, 16), [8, 16]),
        ((8, 16, 8), [8]),
        ((4_096,), []),
        ((UNBOUNDED,), []),
        ((UNBOUNDED, 16), [16]),
    ],
    ids=str,
)
def test_changes_of_the_size_are_announced_by_two_updates_at_most(
    changes: tuple[int, ...], announced: list[int]
) -> None:
    """The smallest and the last (RFC 7541 § 4.2), once, and nothing if nothing has changed."""
    encoder = HeaderEncoder()
    for size in changes:
        encoder.header_table_size = size
    assert size_updates(encoder.encode(CALL)) == announced
    assert size_updates(encoder.encode(CALL)) == []


def test_second_call_is_written_in_numbers_but_for_what_is_new() -> None:
    """And it leaves the table as it was."""
    encoder = HeaderEncoder()
    encoder.encode(CALL)
    table = list(encoder.header_table.dynamic_entries)
    assert {name for name, _ in table} == {b":path", b"te"}
    numbers = encoder.encode(CALL[:3])
    assert len(numbers) == 3
    again = encoder.encode(CALL)
    assert again.startswith(numbers)
    assert encoder.encode(CALL) == again
    assert list(encoder.header_table.dynamic_entries) == table


def test_blocks_that_are_remembered_are_few() -> None:
    """However many a peer thinks of, and none that may change the table."""
    decoder = HeaderDecoder()
    for number in range(1_000):
        decoder.decode(bytes((0x82 + number % 50, 0x82 + number // 50)), raw=True)
        assert len(decoder._known) <= 64  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the bound
    decoder.decode(b"\x40\x01a\x01b", raw=True)
    assert not decoder._known  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the cache is private


@pytest.mark.parametrize("block", [b"\x88", b"\x88\xbe"])
def test_notes_last_as_long_as_the_table(block: bytes) -> None:
    """What they are about might mean something else."""
    decoder = HeaderDecoder()
    decoder.decode(b"\x40\x01a\x01b", raw=True)
    decoder.decode(block, raw=True)
    decoder.notes[block] = "approved"
    assert decoder.knows(block)
    decoder.decode(b"\x40\x01c\x01d", raw=True)
    assert not decoder.notes
    assert not decoder.knows(block)


@pytest.mark.parametrize("header", [("x-long", "x" * 60_000), ("x" * 60_000, "a")])
def test_long_header_is_written_as_it_is(header: tuple[str, str]) -> None:
    """The Huffman coder of hpack never sees it: its time grows with the square of the length."""
    encoder, decoder = HeaderEncoder(), Decoder()
    encoder.encode(CALL)
    table = list(encoder.header_table.dynamic_entries)
    encoder.huffman_coder = None  # type: ignore[assignment] # using it fails
    block = encoder.encode([header])
    assert max(header, key=len).encode() in block
    assert list(encoder.header_table.dynamic_entries) == table
    decoder.max_header_list_size = 70_000
    assert pairs(decoded(decoder, block)) == [header]


def test_header_of_the_size_of_a_token_is_put_into_the_table() -> None:
    """A credential that each call has is sent once."""
    encoder = HeaderEncoder()
    header = ("authorization", "Bearer " + "x" * 900)
    assert len(encoder.encode([header])) > 900
    assert len(encoder.encode([header])) == 1


def test_text_whose_codes_are_long_is_read_if_the_list_may_have_it() -> None:
    """A Huffman code may be nearly four times as long as its text."""
    decoder = HeaderDecoder()
    decoder.max_header_list_size = 65_536
    value = b"\xc3\xa9" * 30_000
    assert decoder.decode(Encoder().encode([(b"x", value)]), raw=True) == [(b"x", value)]


def test_table_is_right_after_a_list_that_was_too_large() -> None:
    """A header that is larger than any list may be, and smaller than the table."""
    encoder, decoder = Encoder(), HeaderDecoder()
    decoder.max_header_list_size = 100
    header = (b"x", b"a" * 1_000)
    with pytest.raises(OversizedHeaderListError):
        decoder.decode(encoder.encode([header]), raw=True)
    decoder.max_header_list_size = 65_536
    assert decoder.decode(encoder.encode([header]), raw=True) == [header]
