"""Rate-limited logging, with a clock of its own and without a sleep."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from ime_live.log_limiter import INTERVAL, LogLimiter, PlainLines
from tests.support.clock import FakeClock


def limiter(clock: FakeClock, *, max_keys: int = 1_000) -> LogLimiter:
    return LogLimiter(structlog.get_logger(), max_keys=max_keys, clock=clock)


def test_first_event_is_logged_at_once_and_repetitions_are_not() -> None:
    limited = limiter(FakeClock())
    with capture_logs() as logs:
        for _ in range(5):
            limited.warning("lost", key="a", error="gone")
    assert logs == [{"event": "lost", "error": "gone", "log_level": "warning"}]


def test_next_line_after_the_interval_counts_the_repetitions() -> None:
    clock = FakeClock()
    limited = limiter(clock)
    with capture_logs() as logs:
        for _ in range(5):
            limited.error("lost", key="a")
        clock.now += INTERVAL
        limited.error("lost", key="a")
        clock.now += INTERVAL
        limited.error("lost", key="a")
    assert [line.get("repeated") for line in logs] == [None, 4, None]


def test_another_key_is_logged_at_once() -> None:
    limited = limiter(FakeClock())
    with capture_logs() as logs:
        for key in "a", "b", "a", "b":
            limited.info("lost", key=key, about=key)
    assert [line["about"] for line in logs] == ["a", "b"]


def test_forgotten_key_is_logged_at_once() -> None:
    limited = limiter(FakeClock())
    with capture_logs() as logs:
        limited.info("lost", key="a")
        limited.forget("a")
        limited.info("lost", key="a")
    assert len(logs) == 2


def test_keys_without_end_take_bounded_memory_and_lines() -> None:
    clock = FakeClock()
    limited = limiter(clock, max_keys=3)
    with capture_logs() as logs:
        for n in range(1_000):
            limited.info("lost", key=n)
    assert len(logs) == 3 + 1  # all beyond the third are one kind
    clock.now += INTERVAL
    with capture_logs() as logs:
        limited.info("lost", key="new")
    assert len(logs) == 1


def test_plain_lines_end_with_the_count() -> None:
    clock, warnings, infos = FakeClock(), list[str](), list[str]()
    lines = PlainLines(warnings.append, info=infos.append)
    limited = LogLimiter(lines, clock=clock)
    for seconds in (0, 1, 1, INTERVAL):
        clock.now += seconds
        limited.warning("lost", key="a")
        limited.info("found", key="b")
    assert warnings == ["lost", "lost (2 more since the last such line)"]
    assert infos == ["found", "found (2 more since the last such line)"]
