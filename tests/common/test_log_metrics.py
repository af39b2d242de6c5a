"""Lines that were dropped are counted where monitoring looks."""

import logging
import os

import anyio
import pytest
from prometheus_client import CollectorRegistry

from relay_common.background import BackgroundHandler, dropped_lines
from relay_common.log_metrics import DroppedLines
from relay_gateway.web import metrics
from relay_model.accounting import Metrics
from relay_model.admission import Admission


def drop_one() -> None:
    reader, writer = os.pipe()
    handler = BackgroundHandler(writer, max_buffered=1)
    handler.emit(logging.makeLogRecord({"msg": "too long"}))
    handler.close()
    os.close(reader)
    os.close(writer)


def test_dropped_line_is_counted() -> None:
    registry = CollectorRegistry()
    registry.register(DroppedLines("lost"))
    before = dropped_lines()
    assert registry.get_sample_value("lost_total") == before
    drop_one()
    assert registry.get_sample_value("lost_total") == before + 1


@pytest.mark.anyio
async def test_both_programs_have_the_metric() -> None:
    await anyio.lowlevel.checkpoint()
    drop_one()
    for registry, name in (
        (metrics.Metrics().registry, "relay_log_lines_dropped_total"),
        (Metrics(Admission()).registry, "relay_model_log_lines_dropped_total"),
    ):
        assert registry.get_sample_value(name) == dropped_lines() > 0
