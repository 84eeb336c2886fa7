"""Channels: the frames of a state, the present state, and the oldest state that is missed."""

from __future__ import annotations

import math
from datetime import UTC

import msgspec

from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.channel import Channel, OldestMissed, State
from tests.support.frames import Reader
from tests.support.payloads import payload
from tests.support.rows import each_row

VERSION = 1_780_000_000_000_000
BY_ID, BY_NAME = wire.envelope_by_id("1"), wire.envelope_by_name("A")


def state(number: int = 1) -> State:
    return State(VERSION + number, payload(number), number, UTC)


@each_row("format_", wire.Format)
def test_frame_of_a_state_is_made_once_per_envelope_and_skipped_number(
    format_: wire.Format,
) -> None:
    one = state()
    kinds = [(BY_ID, None), (BY_NAME, None), (BY_ID, 0), (BY_ID, 3)]
    frames = [one.frame(envelope, format_, skipped) for envelope, skipped in kinds]
    assert len(set(frames)) == len(kinds)
    again = [one.frame(envelope, format_, skipped) for envelope, skipped in kinds]
    assert all(frame is other for frame, other in zip(frames, again, strict=True))


def test_frame_has_timestamp_skipped_number_and_payload() -> None:
    [text] = Reader().texts(state().frame(BY_NAME, wire.Format.TEXT, 3))
    assert msgspec.json.decode(text) == {
        "channel": "IME Stream",
        "contractName": "A",
        "timestamp": "2026-05-28T20:26:40.000001",
        "skipped": 3,
        "data": msgspec.to_builtins(payload(1)),
    }


def test_event_has_an_id_only_if_it_is_named() -> None:
    one = state()
    named = one.frame(BY_ID, wire.Format.EVENT)
    unnamed = one.frame(BY_ID, wire.Format.EVENT, with_id=False)
    assert b"id: 2026-05-28T20:26:40.000001\n" in named
    assert b"id:" not in unnamed


def test_present_state_has_the_newest_version_that_is_known() -> None:
    channel = Channel("1", opened_at=0)
    assert channel.present().version == 0
    channel.newest_version, channel.sent_version = 5, 7  # raised here above the publisher's
    assert channel.present().version == 7


def test_present_state_is_doubted_while_a_client_claims_a_newer_one() -> None:
    channel, section = Channel("1", opened_at=0), Channel("1", opened_at=0, sections=("Aggregate",))
    channel.section_channels[section.sections] = section
    channel.state = section.state = state()
    assert not channel.present().doubted
    section.claimed_version = VERSION + 2
    assert channel.present().doubted


def test_oldest_missed_is_that_of_contracts_that_are_still_missed() -> None:
    channels = [Channel(str(n), opened_at=0) for n in range(3)]
    channels[0].state, channels[1].state = state(2), state(1)
    missed = dict.fromkeys(channels)
    oldest = OldestMissed(missed)
    assert oldest.version() == VERSION + 1
    del missed[channels[1]]
    assert oldest.version() == VERSION + 2
    del missed[channels[0]]
    assert oldest.version() == math.inf
