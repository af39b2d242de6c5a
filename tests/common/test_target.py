"""`HOST:PORT`, as a setting."""

import pytest

from relay_common.target import parse_target


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:50051", ("127.0.0.1", 50051)),
        ("model.example:1", ("model.example", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_a_target_is_split(target: str, expected: tuple[str, int]) -> None:
    assert parse_target(target) == expected


@pytest.mark.parametrize(
    "target",
    [
        "",
        "localhost",
        ":50051",
        "localhost:",
        "localhost:x",
        "localhost:-1",
        "localhost:65536",
        "localhost:\N{ARABIC-INDIC DIGIT ONE}",
        "localhost: 1",
        "[]:1",
    ],
)
def test_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        parse_target(target)
