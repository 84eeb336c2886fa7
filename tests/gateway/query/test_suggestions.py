"""Suggestions for unknown contracts, which reveal no hidden contract."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ime_live.contracts import Contract
from ime_live.errors import UnknownContractError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.suggestions import Suggestion, Suggestions, distance
from ime_live.registry import Registry
from tests.support.rows import each_row

CONTRACTS = [
    Contract(contract_id="12345", contract_name="ContractA", aliases=("OldNameOfA",)),
    Contract(contract_id="67890", contract_name="ContractB"),
    Contract(contract_id="203", contract_name="SAFOR01"),
    Contract(contract_id="204", contract_name="SAFKH02"),
    Contract(contract_id="312", contract_name="سكه0312پ01"),
    Contract(contract_id="55", contract_name="زعفران نگین"),
    Contract(contract_id="7", contract_name="B"),
]
REGISTRY = Registry(CONTRACTS)


def everything(_: Contract) -> bool:
    return True


def suggest(name: str, *patterns: str, by: By = By.NAME, registry: Registry = REGISTRY) -> str:
    """The sentence; empty if there is none."""
    may_see = Identity("x", None, patterns).may_see if patterns else everything
    found = Suggestions().find(by, name, registry, may_see)
    return "" if found is None else found.en


@each_row(
    ("name", "said"),
    [
        ("contracta", "did you mean ContractA? upper and lower case differ"),
        ("safor۰۱", "did you mean SAFOR01? upper and lower case differ"),
        ("12345", "it is the id of ContractA: ask for the name, or by id"),
        ("۱۲۳۴۵ ", "it is the id of ContractA: ask for the name, or by id"),
        ("SAFOR1", "did you mean SAFOR01?"),
        ("SAFFOR01", "did you mean SAFOR01?"),
        ("SAFRO01", "did you mean SAFOR01?"),
        ("saf-or 01", "did you mean SAFOR01?"),
        ("KontraktA", "did you mean ContractA?"),
        ("OldNameOfB", "did you mean OldNameOfA?"),
        ("سکه0312ب01", "did you mean سكه0312پ01?"),
        ("زعفران نکین", "did you mean زعفران نگین?"),
        ("ContractA,ContractB", "give each contract in a parameter of its own, as in"),
        ("ContractA, XYZ", "give each contract in a parameter of its own, as in"),
        ("سكه0312پ01، SAFOR01", "give each contract in a parameter of its own, as in"),
        ("A;B", "give each contract in a parameter of its own, as in"),
        ("ContractA&snapshot=true", "give each contract in a parameter of its own, as in"),
    ],
)
def test_similar_name_is_suggested(name: str, said: str) -> None:
    assert suggest(name).startswith(said)


@each_row("name", ["XYZ", "A", "99", "", "SAF", "Con,", "x" * 65, "ContractA" * 100, "\ud800"])
def test_unknown_name_without_a_similar_one_has_no_suggestion(name: str) -> None:
    assert suggest(name) == ""


@each_row(
    ("name", "said"),
    [
        ("ContractA", "it is a name, of contract 12345: ask for the id, or by name"),
        ("contracta", "it is a name, of contract 12345: ask for the id, or by name"),
        ("سکه۰۳۱۲پ۰۱", "it is a name, of contract 312: ask for the id, or by name"),
        ("12345,67890", "give each contract in a parameter of its own, as in contract_id=A&"),
        ("12346", ""),
        ("ContractC", ""),
    ],
)
def test_similar_id_is_suggested(name: str, said: str) -> None:
    found = suggest(name, by=By.ID)
    assert found.startswith(said)
    assert bool(found) is bool(said)


def test_nearest_of_several_names_is_suggested() -> None:
    registry = Registry(
        [Contract(contract_id=str(n), contract_name=f"KASH{n:04}") for n in range(1000)]
    )
    assert suggest("KASHO0777", registry=registry) == "did you mean KASH0777?"
    assert suggest("KSAH0777", registry=registry) == "did you mean KASH0777?"


def test_changed_registry_is_indexed_again() -> None:
    suggestions = Suggestions()
    new = Contract(contract_id="8", contract_name="Zinc2027")
    assert suggestions.find(By.NAME, "zinc2027", REGISTRY, everything) is None
    found = suggestions.find(By.NAME, "zinc2027", REGISTRY.with_changes([new]), everything)
    assert found is not None
    assert "Zinc2027" in found.en
    assert "Zinc2027" in found.fa


# -- contracts outside the token ----------------------------------------------------------------


@pytest.mark.parametrize("by", list(By))
@pytest.mark.parametrize(
    "name", ["contracta", "12345", "ContractA", "SAFOR1", "OldNameOfB", "سکه0312ب01", "SAFKH03"]
)
def test_hidden_contract_is_not_suggested(name: str, by: By) -> None:
    if (name, by) == ("ContractA", By.NAME):
        return  # that one exists
    # The visible contracts are not similar to any of them.
    assert suggest(name, "id:7", by=by) == ""


def test_nearest_visible_contract_is_suggested() -> None:
    assert suggest("contractb", "id:12345") == "did you mean ContractA?"
    assert suggest("ContractC", "ContractB") == "did you mean ContractB?"
    # The explanation of a hidden id equals that of an id that does not exist.
    registry = Registry([*CONTRACTS, Contract(contract_id="1", contract_name="12344")])
    assert suggest("12345", "id:1", registry=registry) == suggest(
        "12343", "id:1", registry=registry
    )


def test_name_taken_over_by_a_hidden_contract_is_not_suggested() -> None:
    gone = Contract(contract_id="1", contract_name="Wheat2026", delisted=True)
    successor = Contract(contract_id="2", contract_name="Wheat2026")
    registry = Registry([gone, successor])
    assert suggest("wheat2026", "id:1", registry=registry) == ""
    assert "Wheat2026" in suggest("wheat2026", "id:2", registry=registry)


names = st.text("SAFOR01KHab,۰۱سکه ", max_size=9)


@settings(deadline=None)
@given(
    st.lists(names.filter(str.strip), max_size=12, unique=True),
    st.sets(st.integers(0, 11)),
    names,
    st.sampled_from(By),
)
def test_hidden_contracts_change_no_suggestion(
    known: list[str], visible: set[int], name: str, by: By
) -> None:
    """Suggestions are the same as in a registry of the visible contracts only."""
    contracts = [Contract(contract_id=str(n), contract_name=each) for n, each in enumerate(known)]
    whole = Registry(contracts, conflicts=[])
    ids = {str(n) for n in visible}
    seen = Registry((c for c in contracts if c.contract_id in ids), conflicts=[])
    for registry in (whole, seen):
        try:
            found = registry.by_name(name) if by is By.NAME else registry.by_id(name)
        except UnknownContractError:
            continue
        if found.contract_id in ids or registry is whole:
            return  # it is no unknown contract, or one that the token does not cover

    def sentence(registry: Registry) -> Suggestion | None:
        return Suggestions().find(by, name, registry, lambda c: c.contract_id in ids)

    # One exception: of two contracts with a name, the first one has it.
    if len({*map(str.casefold, known)}) == len(known):
        assert sentence(whole) == sentence(seen)


@settings(deadline=None)
@given(st.text(max_size=80), st.sampled_from(By))
def test_suggestion_exists_or_not_for_any_text(name: str, by: By) -> None:
    found = Suggestions().find(by, name, REGISTRY, everything)
    assert found is None or (found.en and found.fa)


@each_row(
    ("one", "other", "apart"),
    [("", "", 0), ("a", "", 1), ("", "ab", 2), ("ab", "ba", 1), ("kitten", "sitting", 3)],
)
def test_edit_distance_of_texts(one: str, other: str, apart: int) -> None:
    assert distance(one, other) == distance(other, one) == apart
