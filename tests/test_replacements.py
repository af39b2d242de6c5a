"""Names of other packages that stand for something of ours: the table has them all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from relay_gateway.server.patch import REPLACEMENTS, Replacement
from tests.support import replaced_names

ROOT = Path(__file__).parent.parent
#: Replaced by ``grpclib_anyio.betterproto``, whose docstring has the table.
OF_STUBS = {
    "betterproto.grpc.grpclib_client.ServiceStub.__init__",
    "betterproto2.grpclib.grpclib_client.ServiceStub.__init__",
}
MOST = 7


def test_every_replacement_is_in_the_table() -> None:
    """The product is made in a process of its own; what differs afterwards has been replaced."""
    command = [sys.executable, replaced_names.__file__]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=50, check=True)
    listed = {f"{each.module}.{each.name}" for each in REPLACEMENTS}
    assert set(json.loads(done.stdout)) == listed | OF_STUBS


def test_replacements_are_few() -> None:
    assert len(REPLACEMENTS) + len(OF_STUBS) <= MOST


@pytest.mark.parametrize("replacement", REPLACEMENTS, ids=lambda each: each.name)
def test_each_says_what_it_is_there_for(replacement: Replacement) -> None:
    file, _, test = replacement.canary.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
    assert replacement.why
    page = replacement.upstream
    assert page.startswith("none found") or (ROOT / page).exists()
