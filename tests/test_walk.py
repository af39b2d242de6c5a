"""A GET comes to the story soon: few files of the gateway, and relay.py early among them."""

from bench.walk import walk

MOST_FILES = 13
STORY = "relay_gateway/relay/relay.py"


def test_a_get_comes_to_the_story_soon() -> None:
    prompt, token = walk()
    files = prompt.files("relay_gateway")
    after_the_server = [file for file in files if "/server/" not in file]
    assert len(files) <= MOST_FILES
    assert STORY in after_the_server[:5]
    assert STORY in token.files("relay_gateway")
