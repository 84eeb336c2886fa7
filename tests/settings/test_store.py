"""Settings of the store: the prefix of its keys."""

from __future__ import annotations

import pytest

from ime_live.errors import SettingsError
from ime_live.settings import StoreSettings


@pytest.mark.parametrize("prefix", ["", " "])
def test_key_prefix_is_not_empty(prefix: str) -> None:
    with pytest.raises(SettingsError, match=f"--key-prefix must not be empty, got {prefix!r}"):
        StoreSettings(key_prefix=prefix)
