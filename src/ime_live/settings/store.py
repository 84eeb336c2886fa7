"""Settings of the store: where Redis or Valkey is, and how its keys are named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ime_live.settings.option import Checked, flag, option


@dataclass(frozen=True, kw_only=True)
class StoreSettings(Checked):
    """Address of Redis or Valkey, and the names of its keys."""

    redis_url: str = option(
        "redis://127.0.0.1:6379",
        "Address of Redis or Valkey: redis://[user:password@]host:port[/db], rediss:// for TLS, "
        "unix:///path/to/socket, redis+sentinel://[user:password@]host:port,host:port/master[/db] "
        "or redis+cluster://[user:password@]host:port,host:port; with TLS, rediss+sentinel:// and "
        "rediss+cluster://. Quote the password (@ is %40).",
        secret=True,
        metavar="URL",
    )
    key_prefix: str = option("ime:", "Prefix of all keys and channels in Redis.")
    redis_timeout: float = option(
        5.0,
        "Timeout for an answer of Redis [seconds], after which the connection counts as broken.",
        above=0,
    )

    def faults(self) -> Iterator[str]:
        """Yield an error message for each invalid value."""
        yield from super().faults()
        if not self.key_prefix.strip():
            # Without one, "live" and "contracts" could be channels and keys of other programs.
            yield f"{flag('key_prefix')} must not be empty, got {self.key_prefix!r}"
