"""What can be set: names, defaults, and what is refused in words."""

import pickle
from dataclasses import fields, replace
from typing import Any

import pytest
from grpclib.config import Configuration as GrpclibConfiguration

from grpclib_anyio._base.config import for_client, for_server
from grpclib_anyio.config import Configuration

#: A value for each setting that has two names, other than its default.
KEEPALIVE: dict[str, Any] = {
    "keepalive_time": 20.0,
    "keepalive_timeout": 10.0,
    "keepalive_permit_without_calls": True,
    "http2_max_pings_without_data": 0,
    "http2_min_sent_ping_interval_without_data": 5.0,
}
DEFAULTS: dict[str, Any] = {
    "keepalive_timeout": 20.0,
    "keepalive_permit_without_calls": False,
    "http2_max_pings_without_data": 2,
    "http2_min_sent_ping_interval_without_data": 300,
}
each_setting = pytest.mark.parametrize(("name", "value"), KEEPALIVE.items())


def both(config: Any, name: str) -> list[Any]:
    """Read a setting by its two names."""
    return [getattr(config, name), getattr(config, f"_{name}")]


def test_every_underscored_setting_of_grpclib_has_a_public_name() -> None:
    underscored = {field.name for field in fields(GrpclibConfiguration) if field.name[0] == "_"}
    assert underscored == {f"_{name}" for name in KEEPALIVE}


@each_setting
def test_public_name_is_read_by_grpclibs_too(name: str, value: Any) -> None:
    assert both(Configuration(**{name: value}), name) == [value, value]


@each_setting
def test_grpclibs_name_is_read_by_ours_too(name: str, value: Any) -> None:
    assert both(Configuration(**{f"_{name}": value}), name) == [value, value]


@each_setting
def test_grpclibs_own_configuration_is_read(name: str, value: Any) -> None:
    theirs = GrpclibConfiguration(**{f"_{name}": value})
    for config in (for_client(theirs), for_server(theirs)):
        assert both(config, name) == [value, value]


def test_defaults_are_grpclibs() -> None:
    for config in (Configuration(), for_client(None), for_server(GrpclibConfiguration())):
        for name, value in DEFAULTS.items():
            assert both(config, name) == [value, value]
    assert both(for_client(None), "keepalive_time") == [None, None]
    assert both(for_server(None), "keepalive_time") == [7200.0, 7200.0]


@each_setting
def test_one_value_by_both_names(name: str, value: Any) -> None:
    config = Configuration(**{name: value, f"_{name}": value})
    assert both(config, name) == [value, value]


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_two_values_by_both_names_are_refused(name: str, default: Any) -> None:
    """Also when one of them is what would be the default."""
    for public, grpclibs in ((KEEPALIVE[name], default), (default, KEEPALIVE[name])):
        with pytest.raises(ValueError, match=f'"{name}" is .* and "_{name}" is .*: give one'):
            Configuration(**{name: public, f"_{name}": grpclibs})


def test_keepalive_that_is_off_by_one_name_and_on_by_the_other_is_refused() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        Configuration(keepalive_time=None, _keepalive_time=20.0)


@each_setting
def test_value_that_is_replaced_by_either_name(name: str, value: Any) -> None:
    for given in (Configuration(), for_client(None), for_server(None)):
        assert both(replace(given, **{name: value}), name) == [value, value]
        config = replace(given, **{f"_{name}": value})
        assert both(config, name) == [value, value]
        assert both(replace(config, max_message_size=1), name) == [value, value]


def test_value_that_is_replaced_several_times() -> None:
    """As a client does that is told of too many pings."""
    config = for_client(Configuration(keepalive_time=1.0))
    for _ in range(3):
        config = replace(config, _keepalive_time=2 * (config.keepalive_time or 0))
    assert both(config, "keepalive_time") == [8.0, 8.0]
    assert both(replace(config, keepalive_time=None), "keepalive_time") == [None, None]


@pytest.mark.parametrize("wrong", [{"keepalive_time": -1.0}, {"_keepalive_time": -1.0}])
def test_wrong_value_is_refused_by_its_public_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r'^"keepalive_time" should be positive'):
        Configuration(**wrong)


def test_equal_configurations_are_equal_however_they_were_named() -> None:
    ours, theirs = Configuration(keepalive_time=5.0), Configuration(_keepalive_time=5.0)
    assert ours == theirs == replace(Configuration(), keepalive_time=5.0)
    assert len({ours, theirs}) == 1
    assert pickle.loads(pickle.dumps(ours)) == theirs  # noqa: S301 - our own bytes
    assert "_keepalive_time" not in repr(ours)


def test_waiting_without_a_pause_is_refused() -> None:
    with pytest.raises(ValueError, match='"wait_for_ready" without a backoff'):
        Configuration(wait_for_ready=True, initial_backoff=0.0)


@pytest.mark.parametrize(
    "wrong", [{"compression": "br"}, {"max_backoff": -1.0}, {"max_retry_buffer_size": -1}]
)
def test_value_out_of_its_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Configuration(**wrong)
