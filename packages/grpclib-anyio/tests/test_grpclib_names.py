"""What a program that was written for grpclib finds when it imports this package in its place."""

from functools import partial
from typing import Any

import anyio
import grpclib.client
import grpclib.const
import grpclib.exceptions
import pytest
from grpclib.const import Cardinality, Handler
from h2.events import ResponseReceived, TrailersReceived

import grpclib_anyio
from grpclib_anyio import client, server
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server
from grpclib_anyio.testing import memory_pair
from harness.peer import STREAM, Methods, Raw, ScriptedPeer, fields_of

METHODS = ["UnaryUnaryMethod", "UnaryStreamMethod", "StreamUnaryMethod", "StreamStreamMethod"]


@pytest.mark.parametrize("name", ["ServiceMethod", *METHODS])
def test_method_classes_are_grpclibs(name: str) -> None:
    assert getattr(client, name) is getattr(grpclib.client, name)
    assert name in client.__all__


@pytest.mark.parametrize("module", [client, server, grpclib_anyio])
def test_errors_and_handlers_are_found_on_both_sides(module: Any) -> None:
    assert module.GRPCError is grpclib.exceptions.GRPCError
    assert module.Status is grpclib.const.Status
    assert module.Handler is grpclib.const.Handler
    assert module.Cardinality is grpclib.const.Cardinality
    assert {"GRPCError", "Status", "Handler", "Cardinality"} <= set(module.__all__)


@pytest.mark.parametrize("name", grpclib_anyio.__all__)
def test_the_package_has_what_it_names(name: str) -> None:
    assert getattr(grpclib_anyio, name) is not None


# -- loop -----------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("make", [Channel, partial(Server, [])], ids=["channel", "server"])
async def test_loop_is_ignored_with_a_warning(make: Any) -> None:  # noqa: ASYNC124 - on both loops
    with pytest.warns(DeprecationWarning, match="loop is ignored"):
        make(loop=object())
    make(loop=None)  # which does not warn


def test_warning_names_the_line_that_is_to_be_changed() -> None:
    with pytest.warns(DeprecationWarning, match="loop") as warnings:
        Server([], loop=object())
    assert [warning.filename for warning in warnings] == [__file__]


# -- what cannot be -------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_server_says_how_it_is_started_and_closed() -> None:
    server_of_none: Any = Server([])  # for a type checker nothing comes after these calls
    with pytest.raises(RuntimeError, match=r"no start\(\).*server\.serve\(host, port\)"):
        await server_of_none.start("127.0.0.1", 0)
    with pytest.raises(RuntimeError, match=r"no start\(\) and no `async with`"):
        async with server_of_none:
            pass
    with pytest.raises(RuntimeError, match=r"no close\(\).*server\.drain\(grace\)"):
        server_of_none.close()
    with pytest.raises(RuntimeError, match=r"no wait_closed\(\)"):
        await server_of_none.wait_closed()


@pytest.mark.anyio
async def test_channel_says_that_it_is_not_entered() -> None:
    channel = Channel("127.0.0.1", 1)
    with pytest.raises(RuntimeError, match="async with"):
        async with channel.request("/a.B/C", Cardinality.UNARY_UNARY, bytes, bytes) as call:
            await call.send_message(b"")


# -- services -------------------------------------------------------------------------------------


class Wrong:
    """A service whose mapping is not what it should be."""

    def __init__(self, entry: Any) -> None:
        self.entry = entry

    def __mapping__(self) -> dict[str, Any]:
        return {
            "/a.B/Right": Handler(print, Cardinality.UNARY_UNARY, bytes, bytes),
            "/a.B/C": self.entry,
        }


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (print, "builtin_function_or_method"),
        (None, "NoneType"),
        ((print, Cardinality.UNARY_UNARY, bytes, bytes), "tuple"),
    ],
)
def test_entry_that_is_no_handler_is_refused(entry: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"^/a.B/C is mapped to '{kind}', and not to a grpclib"):
        Server([Wrong(entry)])


# -- request_handler ------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_every_call_passes_request_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up for each call, so that a tool which measures calls can put itself around it.

    Also around a call that no method is there for, which no event of grpclib's tells of.
    """
    began: list[str] = []
    ended: list[str] = []
    handle = server.request_handler

    async def measured(services: Any, stream: Any, peer: Any) -> None:
        path = dict(stream.headers)[":path"]
        began.append(path)
        await handle(services, stream, peer)
        ended.append(path)

    async def echo(stream: Any) -> None:
        await stream.send_message(await stream.recv_message())

    monkeypatch.setattr(server, "request_handler", measured)
    near, far = memory_pair()
    scripted = ScriptedPeer(far, client_side=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Server([Methods(stream=echo)], codec=Raw()).serve_connection, near)
        await scripted.start()
        await scripted.request(STREAM, b"request")
        await scripted.expect(TrailersReceived)
        await scripted.request("/no.Such/Method", b"request")
        assert fields_of(await scripted.expect(ResponseReceived))["grpc-status"] == "12"
        far.close()
    assert began == ended == [STREAM, "/no.Such/Method"]
