"""h2 keeps each setting that it does not know, and there are 65,536 of them."""

import struct

from h2.connection import H2Connection

CODES = range(0x1000, 0x3000)  # registered for nothing
PER_FRAME = 2_048  # of 6 bytes each: frames have at most 16,384
SETTINGS = 4


def settings(codes):
    """Write a SETTINGS frame (RFC 9113 section 6.5)."""
    body = b"".join(struct.pack(">HL", code, 1) for code in codes)
    return len(body).to_bytes(3) + bytes([SETTINGS, 0]) + bytes(4) + body


client = H2Connection()
client.initiate_connection()
client.receive_data(settings([]))
known = len(client.remote_settings)
for start in range(0, len(CODES), PER_FRAME):
    client.receive_data(settings(CODES[start : start + PER_FRAME]))
kept = len(client.remote_settings) - known
print(f"{'FAULT' if kept else 'NO FAULT'}: of {len(CODES):,} unknown settings {kept:,} are kept")
