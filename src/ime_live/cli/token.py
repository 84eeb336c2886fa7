"""Commands that create and explain tokens, for services without an issuer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.lines import STANDARD_INPUT, open_input
from ime_live.errors import SettingsError
from ime_live.settings import JwtSettings, flag, variable

if TYPE_CHECKING:
    from ime_live.gateway.auth.tokens import TokenReport

app = typer.Typer(help="Make tokens, and explain them.", no_args_is_help=True)


@app.command()
@with_settings(
    JwtSettings,
    only={
        "jwt_secret": "Shared secret of the gateway [at least 32 bytes].",
        "jwt_audience": "Audience of the token (claim aud); empty leaves it out.",
        "jwt_issuer": "Issuer of the token (claim iss); empty leaves it out.",
    },
)
def create(
    subject: Annotated[
        str, typer.Option("--subject", metavar="TEXT", help="Subject of the token (claim sub).")
    ],
    days: Annotated[
        float, typer.Option("--days", metavar="NUMBER", help="Lifetime of the token [days].")
    ] = 30.0,
    contracts: Annotated[
        list[str] | None,
        typer.Option(
            "--contracts",
            metavar="PATTERN",
            help="Names of contracts that the token allows, as KASH*; may be repeated. "
            "Without it, all.",
        ),
    ] = None,
    *,
    settings: JwtSettings,
) -> None:
    """Make a token, signed with a shared secret (HS256)."""
    from ime_live.gateway.auth.tokens import create_token

    if not settings.jwt_secret:
        raise SettingsError(
            f"a secret must be given to sign with, got none; set {flag('jwt_secret')} or "
            f"{variable('jwt_secret')}"
        )
    if not subject.strip():
        raise SettingsError(f"--subject must not be empty, got {subject!r}")
    for pattern in contracts or ():
        if not pattern.strip():
            raise SettingsError(
                f"--contracts must not be empty, got {pattern!r}; leave it out to allow all"
            )
    token = create_token(
        settings.jwt_secret,
        subject,
        days,
        contracts or None,
        settings.jwt_audience,
        settings.jwt_issuer,
        now=time.time(),
    )
    typer.echo(token)


@app.command()
@with_settings(JwtSettings)
def inspect(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN|-", help="The token; - reads standard input.")
    ],
    *,
    settings: JwtSettings,
) -> None:
    """Explain a token, and whether a gateway accepts it.

    With a secret or a key its signature is checked as well; the exit status is 1 if a gateway
    with these settings would refuse it.
    """
    from ime_live.gateway.auth.keys import keyring_from
    from ime_live.gateway.auth.tokens import inspect_token

    text = token
    if token == STANDARD_INPUT:
        with open_input(token) as file:
            text = file.read().decode("utf-8", "replace")
    # As it stands in a header, when someone has copied it from there.
    text = text.strip().removeprefix("Bearer ").strip()
    has_keys = bool(settings.jwt_secret or settings.jwt_public_key or settings.jwks)

    async def work() -> TokenReport:
        if not has_keys:
            return inspect_token(text, now=time.time())
        keyring = keyring_from(settings)
        await keyring.start()
        try:
            return inspect_token(
                text,
                keyring.keys,
                audience=settings.jwt_audience or None,
                issuer=settings.jwt_issuer or None,
                leeway=settings.jwt_leeway,
                now=time.time(),
            )
        finally:
            await keyring.aclose()

    report = asyncio.run(work())
    typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    if report.accepted is False:
        raise typer.Exit(1)
