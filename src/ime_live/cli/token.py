"""Commands that create, inspect and revoke tokens, for services without an issuer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.lines import STANDARD_INPUT, open_input
from ime_live.cli.running import run, write_stderr
from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import SettingsError
from ime_live.settings import JwtSettings, StoreSettings, flag, variable

if TYPE_CHECKING:
    from ime_live.gateway.auth.signing_key import SigningKey
    from ime_live.gateway.auth.token_report import TokenReport

app = typer.Typer(help="Create, inspect and revoke tokens.", no_args_is_help=True)


@app.command()
@with_settings(
    JwtSettings,
    only={
        "jwt_secret": "Shared secret of the gateway [at least 32 bytes].",
        "jwt_secret_file": "File with shared secrets, one per line; the first one is used.",
        "jwks": "JWKS file with shared secrets (oct): that of --kid is used, or the first one.",
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
            help="Pattern of contracts that the token allows, such as KASH*; may be repeated. "
            "Without it, the token allows all contracts.",
        ),
    ] = None,
    private_key: Annotated[
        Path | None,
        typer.Option(
            "--private-key",
            metavar="FILE",
            help="PEM file with the private key to sign with (RSA, EC P-256 or Ed25519); gateways "
            "need its public key.",
        ),
    ] = None,
    kid: Annotated[
        str | None,
        typer.Option(
            "--kid",
            metavar="TEXT",
            help="Id of the key (header kid), for gateways with several keys.",
        ),
    ] = None,
    *,
    settings: JwtSettings,
) -> None:
    """Create a token, signed with a shared secret (HS256) or a private key.

    The token has an id (claim jti), by which `token revoke` can revoke it.
    """
    from ime_live.gateway.auth.tokens import create_token

    key = _signing_key(settings, private_key, kid or None)
    if not subject.strip():
        raise SettingsError(f"--subject must not be empty, got {subject!r}")
    for pattern in contracts or ():
        if not pattern.strip():
            raise SettingsError(
                f"--contracts must not be empty, got {pattern!r}; leave it out to allow all"
            )
    token = create_token(
        key,
        subject,
        days,
        contracts or None,
        settings.jwt_audience,
        settings.jwt_issuer,
        now=SYSTEM_CLOCK.time(),
    )
    typer.echo(token)


def _signing_key(settings: JwtSettings, private_key: Path | None, kid: str | None) -> SigningKey:
    from ime_live.gateway.auth.keys import read_file, read_secret_lines
    from ime_live.gateway.auth.signing_key import SigningKey, read_private_key, read_signing_key

    if private_key is not None:
        pem = read_file("--private-key", str(private_key))
        try:
            return read_private_key(pem, kid)
        except SettingsError as error:
            raise SettingsError(f"--private-key {private_key} cannot be used: {error}") from error
    if settings.jwt_secret:
        return SigningKey("HS256", settings.jwt_secret.encode(), kid)
    if settings.jwt_secret_file:
        return SigningKey("HS256", read_secret_lines(settings.jwt_secret_file)[0], kid)
    if settings.jwks:
        if "://" in settings.jwks:
            raise SettingsError("--jwks must be a file to sign with, got a URL")
        return read_signing_key(read_file("--jwks", settings.jwks), kid)
    raise SettingsError(
        f"a secret must be given to sign with, got none; set {flag('jwt_secret')} or "
        f"{variable('jwt_secret')}, {flag('jwt_secret_file')}, {flag('jwks')} or --private-key"
    )


@app.command()
@with_settings(StoreSettings)
def revoke(
    token: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOKEN|-]", help="The token, which must have a jti; - reads standard input."
        ),
    ] = None,
    token_id: Annotated[
        str | None, typer.Option("--jti", metavar="TEXT", help="Id of the token (claim jti).")
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            "--subject",
            metavar="TEXT",
            help="Subject (claim sub); all of its tokens issued until now are revoked.",
        ),
    ] = None,
    keep: Annotated[
        float,
        typer.Option(
            "--keep",
            metavar="NUMBER",
            help="Time for which the revocation is kept [days], at least the lifetime of a token; "
            "0 keeps it forever. If the token itself is given, until that expires.",
        ),
    ] = 400.0,
    *,
    settings: StoreSettings,
) -> None:
    """Revoke a token or all tokens of a subject, on every gateway, within a second.

    Their streams are closed with 1008, and gateways no longer accept them.
    """
    from ime_live.gateway.auth.tokens import revocation_by, revocation_of
    from ime_live.store.revocation import RevokedBy
    from ime_live.store.revocation_store import RevocationStore

    identifiers = [token, token_id, subject]
    if identifiers.count(None) != 2:
        count = 3 - identifiers.count(None)
        raise SettingsError(f"one of TOKEN, --jti and --subject must be given, got {count} of them")
    now = SYSTEM_CLOCK.time()
    if token_id is not None:
        revocation = revocation_by(RevokedBy.TOKEN_ID, token_id, keep=keep, now=now)
    elif subject is not None:
        revocation = revocation_by(RevokedBy.SUBJECT, subject, keep=keep, now=now)
    else:
        revocation = revocation_of(_read_token(token or ""), keep=keep, now=now)

    async def work() -> None:
        async with RevocationStore(settings) as store:
            await store.revoke([revocation])

    run(work())
    until = datetime.fromtimestamp(revocation.expires, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    duration = f"until {until}" if revocation.expires else "forever"
    write_stderr(f"revoked {revocation.by.value} {revocation.name}, kept {duration}")


def _read_token(argument: str) -> str:
    text = argument
    if argument == STANDARD_INPUT:
        with open_input(argument) as file:
            text = file.read().decode("utf-8", "replace")
    # It may have been copied from a header.
    return text.strip().removeprefix("Bearer ").strip()


@app.command()
@with_settings(JwtSettings)
def inspect(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN|-", help="The token; - reads standard input.")
    ],
    *,
    settings: JwtSettings,
) -> None:
    """Show the contents of a token, and whether a gateway accepts it.

    With a secret or a key, the signature is checked as well, and the exit status is 1 if a gateway
    with these settings would refuse the token.
    """
    from ime_live.gateway.auth.keys import keyring_from
    from ime_live.gateway.auth.token_report import inspect_token

    text = _read_token(token)
    has_keys = bool(
        settings.jwt_secret or settings.jwt_secret_file or settings.jwt_public_key or settings.jwks
    )

    async def work() -> TokenReport:
        if not has_keys:
            return inspect_token(text, now=SYSTEM_CLOCK.time())
        keyring = keyring_from(settings)
        await keyring.start()
        try:
            return inspect_token(
                text,
                keyring.keys,
                audience=settings.jwt_audience or None,
                issuer=settings.jwt_issuer or None,
                leeway=settings.jwt_leeway,
                now=SYSTEM_CLOCK.time(),
            )
        finally:
            await keyring.aclose()

    report = asyncio.run(work())
    typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    if report.accepted is False:
        raise typer.Exit(1)
