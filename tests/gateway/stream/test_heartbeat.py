"""The heartbeat on a clock of the test's own: pings, time limits and the expiry of tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway.stream.heartbeat import Heartbeat
from ime_live.log_limiter import LogLimiter
from tests.support.rows import each_row

INTERVAL, TIMEOUT, UNWRITABLE = 20.0, 20.0, 60.0


def limiter() -> LogLimiter:
    """A limiter that has written no line yet."""
    return LogLimiter(structlog.get_logger())


class Peer:
    """A client that takes down what happens to it; it leaves when it is ended, as a stream does."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self.heartbeat = heartbeat
        self.pings = 0
        self.dropped = False
        self.ends: list[RefusedError] = []
        self.on_ping: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None

    def ping(self) -> None:
        assert not self.ends, "pinged after its end"
        self.pings += 1
        self.on_ping()

    def end(self, refusal: RefusedError) -> None:
        assert not self.ends, "ended twice"
        self.ends.append(refusal)
        self.heartbeat.remove(self)
        self.on_end()

    def drop(self) -> None:
        self.dropped = True

    @property
    def code(self) -> CloseCode | None:
        return self.ends[0].code if self.ends else None


@pytest.fixture
def heartbeat() -> Heartbeat:
    return Heartbeat(INTERVAL, TIMEOUT, UNWRITABLE, limited=limiter())


def clients(heartbeat: Heartbeat, count: int, now: float = 0.0) -> list[Peer]:
    made = [Peer(heartbeat) for _ in range(count)]
    for peer in made:
        heartbeat.add(peer, now)
    return made


def run(heartbeat: Heartbeat, start: float, end: float, *alive: Peer) -> None:
    """Tick every second; ``alive`` answer what they are pinged."""
    now = start
    while now <= end:
        heartbeat.tick(now)
        for peer in alive:
            heartbeat.pong_received(peer)
        now += 1


def test_ping_is_sent_every_interval(heartbeat: Heartbeat) -> None:
    [peer] = clients(heartbeat, 1)
    heartbeat.tick(INTERVAL - 0.1)
    assert peer.pings == 0
    heartbeat.tick(INTERVAL)
    assert peer.pings == 1
    heartbeat.pong_received(peer)
    run(heartbeat, INTERVAL + 1, 10 * INTERVAL, peer)
    assert peer.pings == 10
    assert peer.ends == []


def test_pong_in_time_keeps_the_client(heartbeat: Heartbeat) -> None:
    [peer] = clients(heartbeat, 1)
    heartbeat.tick(INTERVAL)
    heartbeat.tick(INTERVAL + TIMEOUT - 0.1)
    heartbeat.pong_received(peer)
    heartbeat.tick(INTERVAL + TIMEOUT)
    assert peer.ends == []


def test_missing_pong_ends_the_client(heartbeat: Heartbeat) -> None:
    silent, alive = clients(heartbeat, 2)
    heartbeat.tick(INTERVAL)
    heartbeat.pong_received(alive)
    heartbeat.tick(INTERVAL + TIMEOUT - 0.1)
    assert silent.ends == []
    heartbeat.tick(INTERVAL + TIMEOUT)
    assert silent.code is CloseCode.INTERNAL_ERROR
    assert silent.ends[0].reason == "no answer to a ping within 20 s"
    assert silent.ends[0].kind == "ping timeout"
    run(heartbeat, 41, 200, alive)
    assert alive.ends == []


def test_ping_timeout_counts_from_the_first_unanswered_ping() -> None:
    heartbeat = Heartbeat(10.0, 25.0, UNWRITABLE, limited=limiter())
    [peer] = clients(heartbeat, 1)
    run(heartbeat, 1, 34)
    assert (peer.pings, peer.ends) == (3, [])
    heartbeat.tick(35)
    assert peer.code is CloseCode.INTERNAL_ERROR


def test_slow_client_ends_at_its_timeout_and_not_earlier(heartbeat: Heartbeat) -> None:
    [peer] = clients(heartbeat, 1)
    heartbeat.pause(peer, 5)
    heartbeat.pause(peer, 30)  # still the same stall
    run(heartbeat, 6, 5 + UNWRITABLE - 1)
    assert (peer.pings, peer.ends) == (0, [])
    heartbeat.tick(5 + UNWRITABLE)
    assert peer.code is CloseCode.TRY_AGAIN_LATER
    assert peer.ends[0].reason == "too slow: took no data for 60 s"
    assert peer.ends[0].kind == "too slow"


def test_slow_client_timeout_restarts_with_each_stall(heartbeat: Heartbeat) -> None:
    [peer] = clients(heartbeat, 1)
    for start in (0, 59, 118):
        heartbeat.pause(peer, start)
        run(heartbeat, start, start + 58)
        heartbeat.resume(peer)
    assert peer.ends == []


def test_stalled_client_is_forgiven_an_awaited_pong(heartbeat: Heartbeat) -> None:
    [peer] = clients(heartbeat, 1)
    heartbeat.tick(INTERVAL)
    heartbeat.pause(peer, INTERVAL + 1)
    heartbeat.tick(INTERVAL + TIMEOUT)
    heartbeat.resume(peer)
    heartbeat.tick(INTERVAL + TIMEOUT + 1)
    assert peer.ends == []
    run(heartbeat, INTERVAL + TIMEOUT + 2, 3 * INTERVAL + TIMEOUT)
    assert peer.pings == 2
    assert peer.code is CloseCode.INTERNAL_ERROR


@pytest.mark.parametrize("lifetime", [-1.0, 0.0, 0.5, 19.5, 20.0, 45.5, 86_400 + 0.5])
def test_expired_token_ends_the_client_at_the_next_tick(
    heartbeat: Heartbeat, lifetime: float
) -> None:
    peer = Peer(heartbeat)
    start = 1000.0
    heartbeat.add(peer, start, start + lifetime)
    now = start
    while not peer.ends:
        now += 1
        heartbeat.tick(now)
        heartbeat.pong_received(peer)
    assert peer.ends[0].reason == peer.ends[0].kind == "token expired"
    assert peer.code is CloseCode.POLICY_VIOLATION
    assert now - 1 < max(start + lifetime, start + 0.1) <= now


def test_expired_token_ends_a_stalled_client_too(heartbeat: Heartbeat) -> None:
    peer = Peer(heartbeat)
    heartbeat.add(peer, 0, 90)
    heartbeat.pause(peer, 45)
    run(heartbeat, 1, 90)
    assert [refusal.reason for refusal in peer.ends] == ["token expired"]


def test_client_is_ended_for_one_reason_only(heartbeat: Heartbeat) -> None:
    peer = Peer(heartbeat)
    heartbeat.add(peer, 0, 30)
    heartbeat.tick(INTERVAL)
    heartbeat.tick(1000)
    assert len(peer.ends) == 1


def test_removed_client_is_neither_pinged_nor_ended(heartbeat: Heartbeat) -> None:
    peer = Peer(heartbeat)
    heartbeat.add(peer, 0, 30)
    heartbeat.tick(INTERVAL)
    heartbeat.pause(peer, INTERVAL)
    heartbeat.remove(peer)
    heartbeat.remove(peer)
    run(heartbeat, INTERVAL, 200)
    assert (peer.pings, peer.ends) == (1, [])


@pytest.mark.parametrize("others", [False, True])
def test_clients_are_removed_while_they_are_pinged(heartbeat: Heartbeat, others: bool) -> None:
    peers = clients(heartbeat, 3)
    gone = peers[1:] if others else peers[:1]

    def leave() -> None:
        for peer in gone:
            heartbeat.remove(peer)

    peers[0].on_ping = leave
    run(heartbeat, INTERVAL, 3 * INTERVAL - 1, *peers)
    assert [peer.pings for peer in peers] == ([2, 0, 0] if others else [1, 2, 2])


@pytest.mark.parametrize("state", ["expired", "stalled", "silent"])
def test_clients_are_removed_while_another_is_ended(heartbeat: Heartbeat, state: str) -> None:
    peers = [Peer(heartbeat) for _ in range(2)]
    for peer, other in zip(peers, reversed(peers), strict=True):
        heartbeat.add(peer, 0, 30 if state == "expired" else None)
        if state == "stalled":
            heartbeat.pause(peer, 0)
        peer.on_end = lambda other=other: heartbeat.remove(other)  # type: ignore[misc]
    heartbeat.tick(INTERVAL)
    heartbeat.tick(100)
    heartbeat.tick(200)
    assert sum(len(peer.ends) for peer in peers) == 1


def test_client_that_raises_does_not_affect_others(heartbeat: Heartbeat) -> None:
    def fail() -> None:
        raise RuntimeError("the transport is closed")

    good, *bad = clients(heartbeat, 50)
    for each in bad:
        each.on_ping = each.on_end = fail
    with capture_logs() as logs:
        run(heartbeat, INTERVAL, 5 * INTERVAL, good)
    assert good.pings == 5
    assert {each.code for each in bad} == {CloseCode.INTERNAL_ERROR}
    # One line for each kind of failure, however many clients have it.
    assert [line["event"] for line in logs] == ["ping failed", "stream cannot be closed"]


@each_row(
    ("interval", "timeout", "unwritable", "resolution"),
    [(20, 20, 60, 1.0), (0.4, 20, 60, 0.1), (20, 0.2, 60, 0.05), (20, 20, 0.8, 0.2)],
)
def test_heartbeat_resolution_follows_its_shortest_time_limit(
    interval: float, timeout: float, unwritable: float, resolution: float
) -> None:
    assert Heartbeat(interval, timeout, unwritable, limited=limiter()).resolution == pytest.approx(
        resolution
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["pause", "resume", "pong", "add", "remove"]), st.integers(0, 3)),
        max_size=60,
    )
)
def test_silent_client_ends_within_its_timeouts(steps: list[tuple[str, int]]) -> None:
    """A client that is silent from now on ends in time, after any history."""
    heartbeat = Heartbeat(INTERVAL, TIMEOUT, UNWRITABLE, limited=limiter())
    peers = [Peer(heartbeat) for _ in range(4)]
    present: set[Peer] = set()
    now = 0.0
    for step, number in steps:
        peer = peers[number]
        now += 3
        heartbeat.tick(now)
        present = {other for other in present if not other.ends}
        if step == "add" and peer not in present and not peer.ends:
            heartbeat.add(peer, now)
            present.add(peer)
        elif peer in present:
            if step == "pause":
                heartbeat.pause(peer, now)
            elif step == "resume":
                heartbeat.resume(peer)
            elif step == "pong":
                heartbeat.pong_received(peer)
            elif step == "remove":
                heartbeat.remove(peer)
                present.discard(peer)
    run(heartbeat, now, now + UNWRITABLE + 1)
    assert all(peer.ends for peer in present)


def test_end_slowest_ends_longest_paused_clients_until_enough_is_freed() -> None:
    heartbeat = Heartbeat(20, 20, 60, limited=LogLimiter(structlog.get_logger()))
    peers = [Peer(heartbeat) for _ in range(3)]
    for peer in peers:
        heartbeat.add(peer, 0)
    for moment, peer in enumerate((peers[1], peers[0])):
        heartbeat.pause(peer, moment)
    assert heartbeat.end_slowest(lambda: bool(peers[1].ends)) == 1
    assert [peer.code for peer in peers] == [None, CloseCode.TRY_AGAIN_LATER, None]
    assert [peer.dropped for peer in peers] == [False, True, False]
