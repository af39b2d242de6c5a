"""hpack's Huffman encoder takes time that grows with the square of its input."""

from time import process_time

from hpack import Encoder


def seconds(size):
    """Return the shortest of some times, which a busy machine disturbs least."""
    times = []
    for _ in range(160_000 // size):
        start = process_time()
        Encoder().encode([(b"name", b"x" * size)])
        times.append(process_time() - start)
    return min(times)


SIZES = 8_000, 64_000
taken = [seconds(size) for size in SIZES]
growth = taken[-1] / taken[0]
milliseconds = " and ".join(f"{1000 * time:.1f}" for time in taken)
print(
    f"{'FAULT' if growth > 20 else 'NO FAULT'}: 8 times the input takes {growth:.0f} times as long"
    f" ({milliseconds} ms for 8 and 64 kB)"
)
