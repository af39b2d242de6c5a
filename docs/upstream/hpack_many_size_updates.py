"""hpack announces each change of its table's size, where two announcements are allowed."""

from hpack import Encoder

encoder = Encoder()
for size in (16, 8, 24, 12):
    encoder.header_table_size = size
block = encoder.encode([(b":method", b"GET")])
# RFC 7541 section 6.3: 001 and the size; those here fit into one byte.
sizes = [byte & 0x1F for byte in block if byte & 0xE0 == 0x20]
print(
    f"{'FAULT' if len(sizes) > 2 else 'NO FAULT'}: the sizes 16, 8, 24, 12 are announced as"
    f" {', '.join(map(str, sizes))}"
)
