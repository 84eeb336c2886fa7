"""Clock: read the time, and wait. Code that depends on time gets one; tests pass a fake one."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, tzinfo
from typing import Final


class Clock:
    """The clocks of this machine."""

    def time(self) -> float:
        """Return the seconds since the Unix epoch; it jumps if the machine's clock is set."""
        return time.time()

    def time_us(self) -> int:
        """Return the microseconds since the Unix epoch, as versions count them."""
        return time.time_ns() // 1000

    def local(self, zone: tzinfo) -> datetime:
        """Return the date and time in a time zone."""
        return datetime.fromtimestamp(self.time(), zone)

    def monotonic(self) -> float:
        """Return seconds that never jump, for spans of time."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


SYSTEM_CLOCK: Final = Clock()
