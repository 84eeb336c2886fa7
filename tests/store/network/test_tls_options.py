"""TLS options in the URL of Redis: which files are read, and how a bad one is named."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from ime_live.errors import SettingsError
from ime_live.store.network.redis_url import read_redis_url
from tests.support.tls import TlsProxy


def test_tls_files_are_read(tmp_path: Path) -> None:
    ca, bad = TlsProxy(tmp_path).ca, tmp_path / "bad.pem"
    bad.write_text("no PEM")
    own = quote(str(tmp_path / "server.pem"))
    url = read_redis_url(f"rediss://host?ssl_ca_certs={ca}&ssl_certfile={own}&ssl_keyfile={own}")
    assert url.tls is not None
    assert url.tls["ssl_ca_certs"] == str(ca)
    for parameters in (f"ssl_ca_certs={bad}", f"ssl_certfile={bad}", f"ssl_certfile={ca}"):
        with pytest.raises(SettingsError, match="must have PEM of"):
            read_redis_url(f"rediss://host?{parameters}")
