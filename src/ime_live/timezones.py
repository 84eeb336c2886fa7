"""Look up time zones in a tz database that has Tehran's last change.

Iran ended daylight saving in September 2022. A database older than 2022b is an hour ahead in every
summer since.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ime_live.errors import SettingsError

TEHRAN: Final = "Asia/Tehran"

_SUMMER: Final = datetime(2023, 7, 1, 12, tzinfo=UTC)  # the first without daylight saving
_OFFSET: Final = timedelta(hours=3, minutes=30)
_REMEDY: Final = "update the system's tzdata, or: pip install --upgrade tzdata"


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of this name, as ``Asia/Tehran``.

    Raises:
        SettingsError: there is no such zone, or no tz database of 2022b or later.
    """
    try:
        # zoneinfo prefers the system's database; the tzdata package is one of our libraries.
        current = _is_current(ZoneInfo(TEHRAN))
        if not current and not _is_current(_packaged(TEHRAN)):
            raise SettingsError(
                "the tz database must be 2022b or later, got one with daylight saving in "
                f"Tehran, which ended in 2022; {_REMEDY}"
            )
    except (ZoneInfoNotFoundError, ImportError, OSError, ValueError) as error:
        raise SettingsError(
            f"the tz database must be 2022b or later, got none; {_REMEDY}"
        ) from error
    try:
        zone = ZoneInfo(name)
        return zone if current else _packaged(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(
            f"{name!r} is not a time zone (use a name such as Asia/Tehran)"
        ) from error


def zone_of_tehran() -> tzinfo:
    """Return Tehran's time zone, even without a tz database of 2022b or later.

    Without such a database, it is UTC+03:30, which is right since September 2022. Clients do not
    handle earlier times.
    """
    try:
        return zone_of(TEHRAN)
    except SettingsError:
        return timezone(_OFFSET, TEHRAN)


def _is_current(tehran: ZoneInfo) -> bool:
    return _SUMMER.astimezone(tehran).utcoffset() == _OFFSET


def _packaged(name: str) -> ZoneInfo:
    file = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with file.open("rb") as data:
        return ZoneInfo.from_file(data, name)
