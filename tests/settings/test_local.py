"""Settings of the whole service on one machine: those of `up`, and the report of `doctor`."""

from __future__ import annotations

import pytest

from ime_live.errors import SettingsError
from ime_live.settings import DoctorSettings, GatewaySettings, UpSettings


def test_up_needs_no_key_but_refuses_a_short_secret() -> None:
    assert not UpSettings().has_keys
    with pytest.raises(SettingsError, match="--jwt-secret must have at least 32 bytes"):
        UpSettings(jwt_secret="short")


def test_up_ends_sooner_than_a_gateway() -> None:
    up, gateway = UpSettings(), GatewaySettings(jwt_secret="s" * 32)
    assert (up.shutdown_grace, up.shutdown_spread) == (0, 3)
    assert (gateway.shutdown_grace, gateway.shutdown_spread) == (3, 20)


def test_doctor_reports_each_value_that_a_gateway_refuses() -> None:
    settings = DoctorSettings(root_path="api", workers=0)
    assert settings.problems() == [
        "--workers must be above 0, got 0",
        (
            "authentication must have a key, got none: set --jwt-secret, --jwt-public-key, "
            "--jwt-secret-file or --jwks (or --auth none on a loopback address)"
        ),
        "--root-path must start with '/' and not end with one, got 'api'",
    ]
    assert DoctorSettings(jwt_secret="s" * 32).problems() == []
