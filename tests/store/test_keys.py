"""Keys: names in Redis, which programs in other languages use as well."""

from __future__ import annotations

from datetime import date

from redis.crc import key_slot

from ime_live.store.keys import Keys
from tests.support.paths import ROOT
from tests.support.rows import each_row

KEYS = Keys("ime:")
NAMES = {
    "ime:contracts": KEYS.contracts,
    "ime:fence:{ime:contracts}": KEYS.contracts_fence,
    "ime:revoked": KEYS.revoked,
    "ime:feed": KEYS.feed,
    "ime:status": KEYS.status,
    "ime:bars": KEYS.bars_lease,
    "ime:bars:status": KEYS.bars_status,
    "ime:bars:{12345}:2026-11-28": KEYS.bars("12345", date(2026, 11, 28)),
    "ime:last:{12345}": KEYS.last("12345"),
    "ime:live:{12345}": KEYS.live("12345"),
}


@each_row("name", NAMES)
def test_key_has_its_documented_name(name: str) -> None:
    assert NAMES[name] == name
    shown = name.replace("12345", "ID").replace("2026-11-28", "DAY")
    document = (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")
    assert shown.split("{", maxsplit=1)[0] in document


def test_keys_have_the_prefix_of_the_settings() -> None:
    keys = Keys("other:")
    assert keys.live("1") == "other:live:{1}"
    assert keys.contracts_fence == "other:fence:{other:contracts}"


def test_keys_that_one_script_uses_share_a_slot_of_a_cluster() -> None:
    assert key_slot(KEYS.last("12345").encode()) == key_slot(KEYS.live("12345").encode())
    assert key_slot(KEYS.contracts.encode()) == key_slot(KEYS.contracts_fence.encode())
