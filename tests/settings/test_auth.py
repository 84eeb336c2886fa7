"""Settings of authentication: a key is needed, and a secret has 32 bytes."""

from __future__ import annotations

from typing import Any

import pytest

from ime_live.errors import SettingsError
from ime_live.settings import AuthMode, AuthSettings, GatewaySettings


def test_jwt_without_a_key_is_refused() -> None:
    with pytest.raises(
        SettingsError, match="authentication must have a key, got none: set --jwt-s"
    ):
        GatewaySettings()


@pytest.mark.parametrize("name", ["jwt_public_key", "jwks"])
def test_key_other_than_a_secret_is_enough(name: str) -> None:
    values: dict[str, Any] = {name: "file"}
    assert GatewaySettings(**values).auth is AuthMode.JWT


def test_short_secret_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"--jwt-secret must have at least 32 bytes .*, got 31"):
        AuthSettings(jwt_secret="x" * 31)
    assert AuthSettings(jwt_secret="س" * 16).jwt_secret
