"""Selecting: contracts from the arguments of a command, and the token from its options."""

from __future__ import annotations

from pathlib import Path

import pytest

from ime_live.cli.arguments.selecting import TokenFile, selection_of, token_of
from ime_live.contracts import Market
from ime_live.errors import SettingsError


def test_token_file_is_read_again_at_each_call(tmp_path: Path) -> None:
    token = TokenFile(tmp_path / "token")
    for text in ("first", "second"):
        (tmp_path / "token").write_text(f"{text}\n")
        assert token() == text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file or directory"),
        (b" \n", "must have a token, but is empty"),
        (b"\xff", "not UTF-8"),
    ],
    ids=["missing", "blank", "binary"],
)
def test_token_file_without_a_token_is_an_error(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=f"^--token-file {file}.* {reason}$"):
        token_of(None, file)


def test_token_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("eyJ\n")
    assert token_of("eyJ", None) == "eyJ"
    assert token_of(None, None) is None
    with pytest.raises(SettingsError, match="--token and --token-file must not be given together"):
        token_of("eyJ", tmp_path / "token")


def test_digits_are_ids_and_other_words_are_names() -> None:
    assert selection_of(["A", "5", "GC*", "A", "۵"], None, None, everything=False) == {
        "contract_names": ["A", "GC*"],
        "contract_ids": ["5", "۵"],
        "markets": [],
        "underlying": [],
    }


def test_all_contracts_are_a_pattern_unless_a_filter_narrows_them() -> None:
    everything = selection_of(["A", "GC*"], None, None, everything=True)
    assert everything["contract_names"] == ["A", "*"]
    narrowed = selection_of(["GC*"], [Market.OPTION], ["KA"], everything=True)
    assert narrowed["contract_names"] == ["GC*"]
    assert (narrowed["markets"], narrowed["underlying"]) == ([Market.OPTION], ["KA"])


def test_command_without_contracts_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one contract must be given, got none; name"):
        selection_of([], [], [], everything=False)
