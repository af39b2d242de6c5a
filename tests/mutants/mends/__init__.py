"""Mutants of mends that are no trap: what they guard, nobody would look for by a symptom.

For example a bound on what a peer may send: without it everything looks right until somebody sends
more. A module for each part of the product; its mutants have the number 0, and
``nox -s mutants -- 0`` runs all of them.
"""

from tests.mutants.mends import (
    access,
    bounds,
    conversations,
    endings,
    floods,
    lifetimes,
    loop,
    lost_models,
    neighbours,
    openapi,
    page,
    programs,
    redact,
    sdks,
    stream_errors,
    streams,
    truth,
    watchdog,
)
from tests.mutants.mutant import Mutant

__all__ = ["MENDS"]

MENDS: list[Mutant] = [
    *access.MUTANTS,
    *bounds.MUTANTS,
    *conversations.MUTANTS,
    *endings.MUTANTS,
    *floods.MUTANTS,
    *lifetimes.MUTANTS,
    *loop.MUTANTS,
    *lost_models.MUTANTS,
    *neighbours.MUTANTS,
    *openapi.MUTANTS,
    *page.MUTANTS,
    *programs.MUTANTS,
    *redact.MUTANTS,
    *sdks.MUTANTS,
    *stream_errors.MUTANTS,
    *streams.MUTANTS,
    *truth.MUTANTS,
    *watchdog.MUTANTS,
]
