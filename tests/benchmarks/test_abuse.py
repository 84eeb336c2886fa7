"""Each kind of abuse does what it says, and costs the gateway's other clients nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.__main__ import register
from benchmarks.abuse.abusers import SUBJECTS, Abusers
from benchmarks.abuse.answers import Answers
from benchmarks.abuse.kind import TEXT, Kind, Target, frame
from benchmarks.abuse.kinds import KINDS
from benchmarks.abuse.measurement import Measured, Phase
from benchmarks.abuse.report import section_of, table, write_report
from benchmarks.gateways import gateway
from benchmarks.goals import HOLDS, MISSED
from benchmarks.load import Clients
from benchmarks.processes import Running, free_port, tokens
from ime_live.local.embedded import EmbeddedValkey
from tests.support.paths import ROOT
from tests.support.rows import each_row

ABUSERS = 4
OBSERVERS = 10
PATIENCE = 30.0
HASTY = gateway("ime-live", options=("--handshake-timeout", "0.3"))


class Attacked:
    """A gateway, and observers of one contract."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.target = Target(running.port, tokens(SUBJECTS, "abuse"), contract=0)
        self.observers = Clients(sampled_every=1)
        requests = [running.request_of([0], token) for token in tokens(OBSERVERS)]
        self.observers.connect(running.port, requests)
        self.memory = running.memory()

    def attack(self, kind: Kind) -> Abusers:
        """Attack until the gateway has given an answer that it should, and meanwhile publish."""
        abusers = Abusers(kind, self.target, ABUSERS)
        deadline = time.monotonic() + PATIENCE
        self.observers.reset()
        published = 0

        def enough() -> bool:
            nonlocal published
            if published < 5 and abusers.all_begun:
                self.running.publisher.publish([0])
                published += 1
            self.observers.drain(0)
            answered = bool(kind.answers & abusers.codes.keys()) or not kind.answers
            return (answered and published == 5) or time.monotonic() > deadline

        abusers.run(enough)
        expected = published * OBSERVERS
        self.observers.drain(PATIENCE, lambda: self.observers.tally.messages >= expected)
        assert published == 5
        return abusers


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attacked]:
    """A gateway that gives up soon on requests that do not come."""
    with EmbeddedValkey(tcp=True) as valkey:
        asyncio.run(register(valkey.url))
        running = HASTY.start(free_port(), int(valkey.url.rpartition(":")[2]))
        try:
            attacked = Attacked(running)
            yield attacked
            attacked.observers.close()
        finally:
            running.stop()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_gateway_answers_abuse_and_observers_lose_nothing(attacked: Attacked, kind: Kind) -> None:
    abusers = attacked.attack(kind)
    try:
        assert kind.answers & abusers.codes.keys() or not kind.answers
        assert abusers.opened >= ABUSERS
        observers = attacked.observers
        assert observers.tally.messages == 5 * OBSERVERS
        assert len(observers.tally.latencies) == 5 * OBSERVERS
        assert not any(client.closed for client in observers.by_fd.values())
        # The growth of earlier kinds counts as well.
        assert attacked.running.memory() - attacked.memory < 50_000_000
    finally:
        abusers.close()


def test_answers_are_counted_in_pieces_of_any_size() -> None:
    close = b"\x88\x12" + (1008).to_bytes(2) + b"too many request"
    large = b"\x81\x7e" + (300).to_bytes(2) + b"\x88" * 300
    received = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n" + large + close
    head = received.index(b"\r\n\r\n") + 4
    for size in (1, 7, 100, 1_000):
        codes: Counter[str] = Counter()
        answers = Answers(codes)
        answers.feed(received[:head])
        for at in range(head, len(received), size):
            assert not answers.closed
            answers.feed(received[at : at + size])
        assert codes == {"101": 1, "1008": 1}
        assert answers.closed
        assert answers.count == 2


def test_answers_of_pipelined_requests_are_counted() -> None:
    codes: Counter[str] = Counter()
    answers = Answers(codes)
    received = b"HTTP/1.1 200 OK\r\n\r\n{}HTTP/1.1 429 Too Many\r\n\r\n" * 3
    for at in range(0, len(received), 5):
        answers.feed(received[at : at + 5])
    assert codes == {"200": 3, "429": 3}


@each_row("size", [0, 125, 126, 65_535, 65_536])
def test_frame_has_the_length_of_its_payload(size: int) -> None:
    bytes_ = frame(TEXT, b"x" * size)
    extended = 0 if size < 126 else 2 if size < 65_536 else 8
    assert len(bytes_) == 2 + extended + 4 + size
    assert int.from_bytes(bytes_[2 : 2 + extended]) == (size if extended else 0)


def measured(*p99: int) -> Measured:
    """A result with 10 ms beside well-behaved clients in each round."""
    return Measured(
        kind="pings",
        title="sends pings",
        connections=100,
        well=[Phase(p99=10_000, offered=10, delivered=10) for _ in p99],
        abused=[
            Phase(
                p99=each,
                offered=10,
                delivered=9,
                memory=70_000_000,
                cores=0.5,
                waited=0.2,
            )
            for each in p99
        ],
        quiet=60_000_000,
        disconnected=1,
        codes={"101": 1_000, "1008": 999},
        opened=1_000,
        sent=5,
        bound=18_000_000,
    )


def test_ratio_is_judged_by_rounds() -> None:
    assert measured(11_000, 12_000, 20_000).ratio.verdict == HOLDS
    assert measured(21_000, 22_000, 30_000).ratio.verdict == MISSED
    assert measured(11_000, 12_000, 20_000).ratio.median == 1.2


def test_row_shows_ratio_memory_and_losses() -> None:
    row = table([measured(11_000, 12_000, 20_000)]).splitlines()[-1]
    assert "| 10.0 | 12.0 | 1.20 × (1.10–2.00) | holds | 10 | 18 | 0.50 | 0% / 20% |" in row
    assert row.endswith("| 3 | 1 | 101 × 1,000, 1008 × 999 |")


def test_report_replaces_only_its_section(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text("# Reliability\n\nBefore.\n")
    write_report([measured(11_000)], document)
    first = document.read_text()
    write_report([measured(12_000)], document)
    assert first.startswith("# Reliability\n\nBefore.\n\n## Abuse\n\n")
    assert document.read_text().count("## Abuse") == 1
    assert section_of(document).startswith("\n## Abuse\n\n")
    assert "1.20 ×" in section_of(document)
    assert section_of(tmp_path / "none.md") == ""
    [one] = msgspec.json.decode((tmp_path / "abuse.json").read_bytes(), type=list[Measured])
    assert one.ratio.median == 1.2


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A finished run of the command."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.abuse", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_list_names_all_kinds_and_unknown_ones_are_refused() -> None:
    lines = command("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(KINDS)
    refused = command("sing")
    assert refused.returncode == 1
    assert "no such kind of abuse: sing" in refused.stderr


def test_quick_run_measures_both_gateways() -> None:
    done = command("--quick", "garbage")
    assert done.returncode == 0, done.stderr
    cells = [cell.strip() for cell in done.stdout.strip().split("|")]
    assert cells[1] == "garbage"
    assert cells[12:14] == ["0", "0"]
    assert json.loads(cells[3]) > 0
