"""Zones: Tehran's is right whatever the system's tz database says, or it is an error."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ime_live.errors import SettingsError
from ime_live.timezones import zone_of
from tests.support.rows import each_row


@each_row("name", ["Asia/Nowhere", "", "../Tehran", "Asia"])
def test_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="is not a time zone"):
        zone_of(name)


class TestZone:
    def test_tehran_has_no_daylight_saving_since_2022(self) -> None:
        for month in (1, 4, 7, 10):
            moment = datetime(2026, month, 1, tzinfo=UTC).astimezone(zone_of("Asia/Tehran"))
            assert moment.utcoffset() == timedelta(hours=3, minutes=30)

    def test_old_database_of_the_system_is_passed_over(self, tmp_path: Path) -> None:
        code = (
            "from zoneinfo import ZoneInfo; from datetime import *\n"
            "summer = datetime(2023, 7, 1, tzinfo=UTC)\n"
            "print(summer.astimezone(ZoneInfo('Asia/Tehran')).utcoffset())\n"
            "from ime_live.timezones import zone_of\n"
            "print(summer.astimezone(zone_of('Asia/Tehran')).utcoffset())\n"
        )
        _write_old_database(tmp_path)
        said = subprocess.run(  # noqa: S603 - this Python
            [sys.executable, "-c", code],
            env={"PYTHONTZPATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert said.split() == ["4:30:00", "3:30:00"]

    @pytest.mark.parametrize("system", ["old", "none"])
    @pytest.mark.parametrize("package", ["old", "none"])
    def test_outdated_time_zone_database_is_refused(
        self, tmp_path: Path, system: str, package: str
    ) -> None:
        database, packages = tmp_path / "database", tmp_path / "packages"
        (packages / "tzdata").mkdir(parents=True)
        database.mkdir()
        if system == "old":
            _write_old_database(database)
        init = packages / "tzdata" / "__init__.py"  # hides the one that is installed
        init.write_text("" if package == "old" else "raise ModuleNotFoundError\n")
        if package == "old":
            _write_old_database(packages / "tzdata" / "zoneinfo")
            (packages / "tzdata" / "zoneinfo" / "__init__.py").touch()
            (packages / "tzdata" / "zoneinfo" / "Asia" / "__init__.py").touch()
        code = (
            "from ime_live.errors import SettingsError\n"
            "from ime_live.timezones import zone_of\n"
            "try:\n    zone_of('Asia/Tehran')\nexcept SettingsError as error:\n    print(error)\n"
        )
        said = subprocess.run(  # noqa: S603 - this Python
            [sys.executable, "-c", code],
            env={
                "PYTHONTZPATH": str(database),
                "PYTHONPATH": os.pathsep.join([str(packages), *sys.path]),
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "2022b" in said
        assert "pip install --upgrade tzdata" in said


# A tz database before 2022b in its smallest form (RFC 8536, version 1): UTC+04:30 forever, as
# it held for every summer.
_OLD = (
    b"TZif"
    + bytes(16)
    + struct.pack(">6l", 0, 0, 0, 0, 1, 6)
    + struct.pack(">lbb", 16_200, 1, 0)
    + b"+0430\0"
)


def _write_old_database(folder: Path) -> None:
    (folder / "Asia").mkdir(parents=True)
    (folder / "Asia" / "Tehran").write_bytes(_OLD)
