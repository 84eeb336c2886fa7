"""Selecting: the arguments with which a command chooses a service and its contracts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, TypedDict

import typer

from ime_live.cli.lines import reason_of
from ime_live.contracts import Market
from ime_live.errors import ImeLiveError, SettingsError

NOTHING: Final = (
    "at least one contract must be given, got none; name contracts, or use --market, --underlying "
    "or --all"
)


def _complete_name(incomplete: str) -> list[str]:
    """Return the contract names with this prefix, from the service in ``IME_LIVE_URL``."""
    from ime_live.client.rest.client import Client

    names: list[str] = []
    # Completion in a shell cannot show an error.
    with suppress(ImeLiveError), Client(connect_timeout=1, read_timeout=1, tries=1) as client:
        for market in Market:
            names += (contract.contract_name for contract in client.search(market, incomplete))
    return sorted(name for name in names if name.startswith(incomplete))


Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME|ID",
        help="Contracts by name, by id or by a pattern of names such as GC*.",
        autocompletion=_complete_name,
    ),
]
Markets = Annotated[
    list[Market] | None,
    typer.Option(
        "--market",
        metavar="MARKET",
        help="All contracts of a market, such as IMEFutures, IMEOption or IMEDepositCertificate; "
        "may be repeated.",
    ),
]
Underlyings = Annotated[
    list[str] | None,
    typer.Option(
        "--underlying",
        metavar="NAME|ID",
        help="All contracts on an underlying; may be repeated.",
    ),
]
Everything = Annotated[bool, typer.Option("--all", help="All contracts.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Address of the service, such as wss://example.org; default: IME_LIVE_URL.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="Token for the service; other users of this machine can see it in the list of "
        "processes. Default: IME_LIVE_TOKEN.",
    ),
]
TokenPath = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="File with the token; it is read again when the token is refused.",
    ),
]


class TokenFile:
    """Reads the token from a file, each time it is called."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> str:
        """Read the token.

        Raises:
            SettingsError: the file cannot be read, or is empty.
        """
        try:
            token = self._path.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"--token-file {self._path} cannot be read: {reason_of(error)}"
            ) from error
        if not token:
            raise SettingsError(f"--token-file {self._path} must have a token, but is empty")
        return token


def token_of(token: str | None, path: Path | None) -> str | TokenFile | None:
    """Return the token of the options; None if neither is given.

    Raises:
        SettingsError: both are given, or the file cannot be read.
    """
    if path is None:
        return token
    if token is not None:
        raise SettingsError("--token and --token-file must not be given together; leave one out")
    file = TokenFile(path)
    file()  # reports an unreadable file at once
    return file


class ChosenContracts(TypedDict):
    """The arguments of `ime_live.connect` that choose contracts."""

    contract_names: list[str]
    contract_ids: list[str]
    markets: list[Market]
    underlying: list[str]


def selection_of(
    names: Sequence[str] | None,
    markets: Sequence[Market] | None,
    underlyings: Sequence[str] | None,
    everything: bool,
) -> ChosenContracts:
    """Return the selection of the options.

    Raises:
        SettingsError: nothing is selected.
    """
    contracts = list(dict.fromkeys(names or ()))
    filters = bool(markets or underlyings)
    if everything and not filters:
        contracts = [*(contract for contract in contracts if "*" not in contract), "*"]
    if not (contracts or filters):
        raise SettingsError(NOTHING)
    ids = [contract for contract in contracts if contract.strip().isdecimal()]
    return ChosenContracts(
        contract_names=[contract for contract in contracts if contract not in ids],
        contract_ids=ids,
        markets=list(markets or ()),
        underlying=list(underlyings or ()),
    )
