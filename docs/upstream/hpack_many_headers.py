"""hpack's decoder takes time that grows with the square of a block's headers."""

from time import process_time

from hpack import Decoder

# RFC 7541 § 6.2.2: a header that is not put into the table, "x: y".
HEADER = b"\x00\x01x\x01y"


def seconds(size):
    block = HEADER * (size // len(HEADER))
    decoder = Decoder()
    decoder.max_header_list_size = 2**30
    start = process_time()
    decoder.decode(block)
    return process_time() - start


SIZES = 32_000, 256_000
taken = [seconds(size) for size in SIZES]
growth = taken[-1] / taken[0]
milliseconds = " and ".join(f"{1000 * time:.1f}" for time in taken)
print(
    f"{'FAULT' if growth > 20 else 'NO FAULT'}: 8 times the block takes {growth:.0f} times as long"
    f" ({milliseconds} ms for 32 and 256 kB)"
)
