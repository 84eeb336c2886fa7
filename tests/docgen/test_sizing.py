"""The sizing of Redis in docs/operations.md: it follows the measured figures."""

from __future__ import annotations

import pytest

from docgen.sizing import cost_of_update, sizing

MEASURED = {"cpu_per_delivery": 10.0, "memory_per_connection": 5000.0, "bytes_per_message": 700.0}
PERFORMANCE = {
    "many10k20": {"ime-live": MEASURED | {"cpu_per_handshake": 500.0}},
    "market": {"ime-live, by market": MEASURED | {"cpu_per_delivery": 0.6}},
    "tls": {
        "ime-live": MEASURED | {"cpu_per_handshake": 500.0},
        "ime-live behind nginx with TLS": {
            "cpu_per_delivery": 35.0,
            "memory_per_connection": 45_000.0,
            "cpu_per_handshake": 2000.0,
        },
    },
    "single": {"ime-live, deflate": {"bytes_per_message": 350.0}},
}
STORE = {"one_server": {"0": 100.0, "10": 120.0, "20": 140.0}}


def test_cost_of_an_update_is_a_line_through_the_figures() -> None:
    assert cost_of_update(STORE) == pytest.approx((100.0, 2.0))
    assert cost_of_update({"one_server": {"0": 90.0, "10": 140.0, "20": 130.0}}) == pytest.approx(
        (100.0, 2.0)
    )


def test_sizing_follows_the_figures() -> None:
    lines = sizing(PERFORMANCE, STORE).splitlines()
    text = " ".join(lines)
    # 10,000 clients × 200 updates/s × 20 of 500 contracts; 80,000 × 10 µs is 0.8 of a core.
    assert lines[2] == "| 10,000 | 20 contracts | 80,000 | 2 | 0.05 | 2 | 0.02 | 0.4 | 0.2 |"
    assert lines[7] == (
        "| 1,000,000 | whole market | 200,000,000 | 200 | 5.00 | 200 | 0.10 | 1,120.0 | 560.0 |"
    )
    assert "sends 60,000 messages per second" in text
    assert "or 1,000,000 to clients of a whole market" in text
    assert "accepts 2,000 clients per second" in text
    assert "adds 25 µs of CPU per message" in text
    assert "1.5 ms per handshake and 40 kB per connection" in text
    # 60 % of a core are 3,000 µs for each of 200 updates, of which 100 are for the script.
    assert "| 200 | 1,450 | 1.6 |" in lines
    assert "| 2,000 | 100 | 1.1 |" in lines
