"""A model that is killed is unavailable, whatever stands between it and the gateway."""

import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from grpclib_anyio.client import Channel
from harness.programs import Program, run_module
from relay_gateway.relay.outcome import Cause
from relay_gateway.relay.relay import Limits, Relay
from relay_gateway.relay.sse import TextEncoder
from relay_proto.ai import GenerateRequest

pytestmark = [pytest.mark.trio, pytest.mark.timeout(60)]

#: Long enough for the model to be killed in the middle of it.
PROMPT = GenerateRequest(prompt="a long story " * 30)
LIMITS = Limits(deadline=30.0)


_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_MANAGER = f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"


def _envoy(folder: Path, port: int) -> tuple[list[str], Path]:
    listening = folder / "envoy.sock"
    (folder / "envoy.yaml").write_text(
        f"""
static_resources:
  listeners:
    - address: {{ pipe: {{ path: {listening} }} }}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": {_MANAGER}
                stat_prefix: relay
                codec_type: HTTP2
                route_config:
                  virtual_hosts:
                    - name: model
                      domains: ["*"]
                      routes:
                        - match: {{ prefix: "/" }}
                          route: {{ cluster: model, timeout: 0s }}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": {_EXTENSIONS}.filters.http.router.v3.Router
  clusters:
    - name: model
      type: STATIC
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": {_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {{ http2_protocol_options: {{}} }}
      load_assignment:
        cluster_name: model
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
""",
        encoding="utf-8",
    )
    options = ["--use-dynamic-base-id", "--log-level", "error", "--concurrency", "1"]
    return ["envoy", "-c", str(folder / "envoy.yaml"), *options], listening


def _nginx(folder: Path, port: int) -> tuple[list[str], Path]:
    listening = folder / "nginx.sock"
    (folder / "nginx.conf").write_text(
        f"""
daemon off;
master_process off;
error_log stderr;
pid {folder}/nginx.pid;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/1;
  proxy_temp_path {folder}/2;
  fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4;
  scgi_temp_path {folder}/5;
  server {{
    listen unix:{listening} http2;
    location / {{ grpc_pass grpc://127.0.0.1:{port}; grpc_read_timeout 1h; }}
  }}
}}
""",
        encoding="utf-8",
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], listening


def _haproxy(folder: Path, port: int) -> tuple[list[str], Path]:
    listening = folder / "haproxy.sock"
    (folder / "haproxy.cfg").write_text(
        f"""
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend gateway
  bind unix@{listening} proto h2
  default_backend model
backend model
  server model 127.0.0.1:{port} proto h2
""",
        encoding="utf-8",
    )
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], listening


Proxy = Callable[[Path, int], tuple[list[str], Path]]
PROXIES: dict[str, Proxy | None] = {
    "nothing": None,
    "envoy": _envoy,
    "nginx": _nginx,
    "haproxy": _haproxy,
}


def _skip_unless_there(name: str) -> None:
    if name != "nothing" and shutil.which(name) is None:
        assert "CI" not in os.environ, f"{name} is missing"
        pytest.skip(f"{name} is not installed")


@contextmanager
def _started(proxy: Proxy, folder: Path, port: int) -> Generator[Path]:
    command, listening = proxy(folder, port)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            yield listening
        finally:
            process.terminate()


async def _until_listening(path: Path) -> None:
    with trio.fail_after(20):
        while True:
            try:
                await (await trio.open_unix_socket(path)).aclose()
            except OSError:
                await trio.sleep(0.02)  # there is nothing else that could be waited for
            else:
                return


@contextmanager
def _model() -> Generator[tuple[Program, int]]:
    with run_module("relay_model", "--port", "0", "--demo-delay", "0.05") as model:
        yield model, int(model.wait_for(r"127\.0\.0\.1', (\d+)")[1])


#: A model, what makes a channel to it, and the socket of what stands in between.
Way = tuple[Program, Callable[[], Channel], Path | None]


@pytest.fixture(params=PROXIES)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Way]:
    """Start a model, and a proxy in front of it."""
    name = str(request.param)
    _skip_unless_there(name)
    proxy = PROXIES[name]
    with _model() as (model, port):
        if proxy is None:
            yield model, partial(Channel, "127.0.0.1", port), None
        else:
            with _started(proxy, tmp_path, port) as listening:
                yield model, partial(Channel, path=str(listening)), listening


async def _answered(relay: Relay) -> None:
    async with relay:
        await relay.read_to_end()


async def test_a_model_that_is_killed_in_its_answer_is_unavailable(way: Way) -> None:
    model, channel_to_it, listening = way
    if listening is not None:
        await _until_listening(listening)
    async with channel_to_it() as channel:
        relay = Relay(channel, PROMPT, TextEncoder(), LIMITS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answered, relay)
            with trio.fail_after(20):
                await relay.until_begun()
            assert relay.failure is None, relay.failure
            model.kill()
    assert relay.outcome is not None
    assert relay.outcome.cause is Cause.MODEL_UNAVAILABLE, relay.outcome


async def test_a_model_that_is_gone_is_unavailable(way: Way) -> None:
    model, channel_to_it, listening = way
    if listening is not None:
        await _until_listening(listening)
    async with channel_to_it() as channel:
        first = Relay(channel, GenerateRequest(prompt="hi"), TextEncoder(), LIMITS)
        await _answered(first)
        assert first.outcome is not None
        assert first.outcome.cause is Cause.DONE, first.outcome
        model.kill()
        await trio.to_thread.run_sync(model.output)  # ends with the program
        relay = Relay(channel, PROMPT, TextEncoder(), LIMITS)
        await _answered(relay)
    assert relay.outcome is not None
    assert relay.outcome.cause is Cause.MODEL_UNAVAILABLE, relay.outcome
