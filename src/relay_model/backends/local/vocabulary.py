r"""Which tokens of a model control a chat, and text in which they are only text.

A chat template marks where a message begins and ends by control tokens. The engine reads them in
messages too, so a user who writes ``<|im_end|>`` would end the message, and could go on as the
system. An invisible character (U+2060) after the first one makes it text of several tokens::

    inert = Inert(control_tokens(path))
    inert("<|im_end|>")     # "<\u2060|im_end|>"

The library of the format, ``gguf``, takes three seconds for what is read here in a tenth of one.
"""

import re
import struct
from pathlib import Path
from typing import BinaryIO

from relay_common.errors import StartupError

__all__ = ["Inert", "control_tokens"]

_WORD_JOINER = "\N{WORD JOINER}"

#: GGUF (ggml's docs/gguf.md): the types of metadata values. Others have a fixed size, given here.
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_INT32 = 5
#: llama.cpp's kinds of tokens that are matched as a whole: unknown, control, defined by the user.
_MATCHED = frozenset({2, 3, 4})
_TOKENS, _TYPES = b"tokenizer.ggml.tokens", b"tokenizer.ggml.token_type"


class Inert:
    """Makes text of what would be control tokens; other text is left as it is."""

    def __init__(self, tokens: list[str]) -> None:
        """Prepare for these tokens."""
        # The longest first, because one may begin another.
        # Some models have tokens of white space alone, which control nothing.
        longest_first = sorted(filter(str.strip, tokens), key=len, reverse=True)
        self._tokens = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def __call__(self, text: str) -> str:
        """Return the text without control tokens in it."""
        return self._tokens.sub(lambda found: f"{found[0][0]}{_WORD_JOINER}{found[0][1:]}", text)


def control_tokens(path: Path) -> list[str]:
    """Return the control tokens of the model in a GGUF file.

    Blocks for a tenth of a second. A file without a vocabulary has none.

    Raises:
        StartupError: the file is not what it seems to be.

    """
    found: dict[bytes, list[bytes] | tuple[int, ...]] = {}
    try:
        with path.open("rb") as file:
            file.seek(16)  # the magic number, the version, and the number of tensors
            for _ in range(_number(file, "<Q")):
                name, kind = _string(file), _number(file, "<I")
                if name in {_TOKENS, _TYPES}:
                    found[name] = _array(file)
                else:
                    _skip(file, kind)
    except (OSError, struct.error, KeyError, OverflowError, MemoryError) as error:
        raise StartupError(f"the model {path} has no vocabulary that can be read") from error
    pairs = zip(found.get(_TOKENS, ()), found.get(_TYPES, ()), strict=False)
    return [
        token.decode(errors="replace")
        for token, kind in pairs
        if kind in _MATCHED and isinstance(token, bytes)
    ]


def _number(file: BinaryIO, code: str) -> int:
    number: int
    (number,) = struct.unpack(code, file.read(struct.calcsize(code)))
    return number


def _string(file: BinaryIO) -> bytes:
    return file.read(_number(file, "<Q"))


def _array(file: BinaryIO) -> list[bytes] | tuple[int, ...]:
    """Read an array of strings, or of whole numbers."""
    kind, length = _number(file, "<I"), _number(file, "<Q")
    if kind == _STRING:
        return [_string(file) for _ in range(length)]
    return struct.unpack(f"<{length}{'i' if kind == _INT32 else 'I'}", file.read(4 * length))


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        file.seek(_number(file, "<Q"), 1)
    elif kind == _ARRAY:
        inner, length = _number(file, "<I"), _number(file, "<Q")
        if inner in {_STRING, _ARRAY}:
            for _ in range(length):
                _skip(file, inner)
        else:
            file.seek(length * _SIZES[inner], 1)
    else:
        file.seek(_SIZES[kind], 1)
