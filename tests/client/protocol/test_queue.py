"""Queues against what they promise, for any order of messages and readings."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ime_live.client.protocol.message import Key
from ime_live.client.protocol.queue import MessageQueue, QueuePolicy, queue_of
from tests.support.rows import each_row


@dataclass
class Item:
    """A message as a queue sees it."""

    contract: str
    number: int
    skipped: int = 0

    @property
    def key(self) -> Key:
        return ("name", self.contract)


SIZE = 3

# A contract stands for a message that arrives, None for a reading.
steps = st.lists(st.one_of(st.none(), st.sampled_from("ABC")), max_size=60)


def make(policy: QueuePolicy) -> MessageQueue[Item]:
    queue: MessageQueue[Item] = queue_of(policy, SIZE)
    return queue


@given(steps, st.sampled_from(list(QueuePolicy)))
def test_message_is_read_once_or_counted_as_skipped(
    steps: list[str | None], policy: QueuePolicy
) -> None:
    queue = make(policy)
    came: Counter[str] = Counter()
    seen: dict[str, int] = dict.fromkeys("ABC", 0)  # the number of the last that was read

    def check(item: Item | None) -> None:
        if item is not None:
            # Exactly the messages left out since the last one of this contract.
            assert item.number == seen[item.contract] + item.skipped + 1
            seen[item.contract] = item.number

    skipped = 0
    for contract in steps:
        if contract is None:
            check(queue.take())
            continue
        if not queue.put(Item(contract, came[contract] + 1)):
            assert policy is QueuePolicy.BLOCK
            assert len(queue) == SIZE
            continue
        came[contract] += 1
        assert policy is QueuePolicy.LATEST or len(queue) <= SIZE
    while (item := queue.take()) is not None:
        check(item)
        skipped += item.skipped
    # The newest of every contract was given out, unless the oldest were dropped unread.
    if policy is not QueuePolicy.DROP_OLDEST:
        assert seen == {contract: came[contract] for contract in "ABC"}
    assert len(queue) == 0
    if policy is QueuePolicy.BLOCK:
        assert queue.skipped == 0


def drain(queue: MessageQueue[Item]) -> list[tuple[str, int, int]]:
    items = []
    while (item := queue.take()) is not None:
        items.append((item.contract, item.number, item.skipped))
    return items


def fill(queue: MessageQueue[Item], *items: tuple[str, int]) -> list[bool]:
    return [queue.put(Item(contract, number)) for contract, number in items]


def test_conflation_keeps_the_newest_message_and_the_turn_of_each_contract() -> None:
    queue = make(QueuePolicy.LATEST)
    assert all(fill(queue, ("A", 1), ("B", 1), ("A", 2), ("C", 1), ("A", 3)))
    assert (len(queue), queue.skipped) == (3, 2)
    assert drain(queue) == [("A", 3, 2), ("B", 1, 0), ("C", 1, 0)]


def test_conflation_adds_up_skipped_messages_of_the_gateway() -> None:
    queue = make(QueuePolicy.LATEST)
    queue.put(Item("A", 5, skipped=4))
    queue.put(Item("A", 8, skipped=2))
    assert drain(queue) == [("A", 8, 7)]


def test_drop_oldest_drops_the_oldest_message() -> None:
    queue = make(QueuePolicy.DROP_OLDEST)
    assert all(fill(queue, ("A", 1), ("A", 2), ("B", 1), ("B", 2), ("A", 3)))
    assert (len(queue), queue.skipped) == (3, 2)
    assert drain(queue) == [("B", 1, 0), ("B", 2, 0), ("A", 3, 2)]


def test_block_reports_a_full_queue() -> None:
    queue = make(QueuePolicy.BLOCK)
    assert fill(queue, ("A", 1), ("A", 2), ("B", 1), ("B", 2)) == [True, True, True, False]
    assert queue.take() == Item("A", 1)
    assert fill(queue, ("B", 2), ("B", 3)) == [True, False]
    assert drain(queue) == [("A", 2, 0), ("B", 1, 0), ("B", 2, 0)]


def test_block_takes_more_messages_if_forced() -> None:
    queue = make(QueuePolicy.BLOCK)
    fill(queue, ("A", 1), ("A", 2), ("A", 3))
    assert queue.put(Item("A", 4), beyond=True)
    assert not queue.put(Item("A", 5))
    assert drain(queue) == [("A", n, 0) for n in (1, 2, 3, 4)]


@each_row("policy", list(QueuePolicy))
def test_purged_messages_are_neither_read_nor_counted(policy: QueuePolicy) -> None:
    queue = make(policy)
    fill(queue, ("A", 1), ("B", 1), ("A", 2))
    skipped = queue.skipped
    queue.purge([("name", "A"), ("id", "B")])
    assert (drain(queue), queue.skipped) == ([("B", 1, 0)], skipped)


@each_row("policy", list(QueuePolicy))
def test_queue_is_filled_by_one_thread_and_read_by_another(policy: QueuePolicy) -> None:
    queue = make(policy)
    count = 2000
    taken = 0

    def write() -> None:
        for number in range(1, count + 1):
            item = Item("A", number)
            while not queue.put(item):
                time.sleep(0)  # lets the other thread run

    writer = threading.Thread(target=write)
    writer.start()
    last = 0
    while last < count:
        item = queue.take()
        if item is None:
            time.sleep(0)
        else:
            assert item.number == last + item.skipped + 1
            last = item.number
            taken += 1
    writer.join()
    assert taken + queue.skipped == count
