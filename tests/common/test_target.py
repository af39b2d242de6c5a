"""`HOST:PORT`, as a setting."""

import pytest

from relay_common.target import parse_target


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:50051", ("127.0.0.1", 50051)),
        ("model.example:1", ("model.example", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("my_model.svc.:1", ("my_model.svc.", 1)),
        (
            "m\N{LATIN SMALL LETTER U WITH DIAERESIS}nchen.example:1",
            ("m\N{LATIN SMALL LETTER U WITH DIAERESIS}nchen.example", 1),
        ),
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
        "localhost:0",
        "localhost:+1",
        "localhost:99999999999999999999",
        "http://localhost:1",
        "unix:/run/model:1",
        "::1:50051",
        "[::1:50051",
        "[localhost]:1",
        "[127.0.0.1]:1",
        "user@localhost:1",
        "local host:1",
        ".localhost:1",
        "a..b:1",
        f"{'x' * 64}:1",
        f"{'x.' * 130}x:1",
        "-x:1",
        "\ud800:1",
        "x/y:1",
    ],
)
def test_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        parse_target(target)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("http://localhost:1", "without a scheme"),
        ("::1:50051", "with brackets around an IPv6 address"),
        ("localhost:70000", "the port from 1 to 65535"),
        ("x/y:1", "the host a name or an address"),
    ],
)
def test_what_is_wrong_is_said(target: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_target(target)
