"""Usage of subjects: sums, and a bounded number of them."""

from __future__ import annotations

from ime_live.gateway.limits.usage import OTHERS, SubjectUsage, Usage


def test_take_returns_sums_and_starts_at_zero() -> None:
    usage = Usage()
    usage.add("alice", connections=1)
    usage.add("alice", messages=3, size=100)
    usage.add("alice", messages=2, size=50)
    usage.add("bob", connections=1, messages=1)
    assert dict(usage.take()) == {"alice": SubjectUsage(1, 5, 150), "bob": SubjectUsage(1, 1, None)}
    assert dict(usage.take()) == {}


def test_subjects_beyond_the_limit_count_together() -> None:
    usage = Usage(max_subjects=2)
    for number in range(5):
        usage.add(f"subject {number}", connections=1)
    usage.add("subject 0", connections=1)
    found = {name: used.connections for name, used in usage.take()}
    assert found == {"subject 0": 2, "subject 1": 1, OTHERS: 3}
