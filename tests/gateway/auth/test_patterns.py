"""Which contracts the patterns of a token match."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ime_live.contracts import Contract
from ime_live.gateway.auth.patterns import Patterns
from tests.support.rows import each_row

CONTRACT = Contract(contract_id="5123", contract_name="KASHF05", aliases=("سکه0312پ01", "KashOld"))


@each_row(
    "pattern",
    [
        "KASHF05",
        "KASH*",
        "*",
        "KASHF0?",
        "KASHF0[1-5]",
        "KashOld",
        "سکه*",
        "سكه۰۳۱۲پ٠١",
        " KASHF05 ",
        "KASH\u200cF05",
        "id:5123",
        "id:51*",
        "id:۵۱۲?",
        "id: 5123",
    ],
)
def test_pattern_matches_name_alias_and_id(pattern: str) -> None:
    assert Patterns([pattern]).match(CONTRACT)


@each_row(
    "pattern",
    [
        "KASH",
        "kash*",
        "KASHF0",
        "KASHF05?",
        "ASHF05",
        "5123",
        "51*",
        "id:512",
        "id:KASH*",
        "id:",
        "ID:5123",
        "",
        "KASH.*",
        "KASHF0[!5]",
    ],
)
def test_pattern_matches_no_other_contract(pattern: str) -> None:
    assert not Patterns([pattern]).match(CONTRACT)


SPACED = Contract(contract_id="7", contract_name="نیم سکه0312پ01")


@each_row(
    "pattern",
    ["نیم سکه*", "نیم‌سکه*", "نیمسکه0312پ01", "نِیـم سكه۰۳۱۲پ٠١", "نیم *", "*سکه*", "نیم?سکه*"],
)
def test_pattern_matches_other_spellings_of_a_blank(pattern: str) -> None:
    assert Patterns([pattern]).match(SPACED)


@each_row("pattern", ["نیم * *", "نی *", "سکه*", "نیم سکه"])
def test_pattern_does_not_match_beyond_its_blanks(pattern: str) -> None:
    assert not Patterns([pattern]).match(SPACED)
    assert not Patterns([pattern]).match(Contract(contract_id="8", contract_name="نیمروز"))


def test_contract_needs_one_of_several_patterns() -> None:
    assert Patterns(["nothing", "id:9*", "KASH*"]).match(CONTRACT)


def test_empty_list_of_patterns_matches_nothing() -> None:
    assert not Patterns([]).match(CONTRACT)


@given(st.lists(st.text(alphabet="KA*?[]!-|&~^\\Sي۱\u200c:id"), max_size=5), st.text(max_size=8))
@settings(deadline=None)
def test_any_text_is_a_pattern(patterns: list[str], name: str) -> None:
    contract = Contract(contract_id="1", contract_name=name)

    assert Patterns(patterns).match(contract) in {True, False}


@given(st.text(alphabet="KASH۰۱يك\u200c 05", min_size=1))
@settings(deadline=None)
def test_name_is_its_own_pattern(name: str) -> None:
    assert Patterns([name]).match(Contract(contract_id="1", contract_name=name))
