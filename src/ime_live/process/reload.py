"""Reload: read the settings of a running program again, and log the changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, replace
from typing import Any, Generic, TypeVar

import structlog
from msgspec import Struct

from ime_live.errors import SettingsError
from ime_live.logs import configure_logging
from ime_live.settings import LogLevel, LogSettings, flag, options

log = structlog.get_logger()

SettingsT = TypeVar("SettingsT", bound=LogSettings)


class Reloaded(Struct, Generic[SettingsT], frozen=True):
    """Settings that were read again.

    Attributes:
        settings: the new settings in force: the former ones with the changes of live options.
        changes: the changed live options, with their values unless they are secret.
        waiting: flags of other changed options, which take effect at the next start.
    """

    settings: SettingsT
    changes: tuple[str, ...]
    waiting: tuple[str, ...]


def compare(former: SettingsT, new: SettingsT) -> Reloaded[SettingsT]:
    """Return the changes from former to new settings.

    Raises:
        SettingsError: the new values of live options contradict the former values of others.
    """
    changed = [
        option
        for option in options(type(new))
        if getattr(new, option.name) != getattr(former, option.name)
    ]
    live = [option for option in changed if option.metadata["reloadable"]]
    return Reloaded(
        replace(former, **{option.name: getattr(new, option.name) for option in live}),
        tuple(_describe_change(option, former, new) for option in live),
        tuple(flag(option.name) for option in changed if option not in live),
    )


def _describe_change(option: Field[Any], former: object, new: object) -> str:
    if option.metadata["secret"]:
        return f"{flag(option.name)} (not shown)"
    before, after = (str(getattr(settings, option.name)) or "-" for settings in (former, new))
    return f"{flag(option.name)} {before} -> {after}"


def log_refusal(error: SettingsError) -> None:
    """Log that new settings cannot be used, and that the former ones stay in force."""
    log.error("settings cannot be reloaded; nothing has changed", error=str(error))


class Reloader(Generic[SettingsT]):
    """Reads the settings of this program again, and applies the log level.

    ::

        reloaded = reloader.read()
        if reloaded is not None:
            limits.change(reloaded.settings)
            reloader.accept(reloaded)
    """

    def __init__(
        self,
        settings: SettingsT,
        read: Callable[[], SettingsT],
        *,
        check: Callable[[SettingsT], object] = lambda _: None,
    ) -> None:
        """Make a reloader.

        Args:
            settings: the settings in force.
            read: reads the settings from their sources; raises SettingsError.
            check: raises SettingsError if the program cannot run with the settings.
        """
        self.settings = settings
        self._read = read
        self._check = check

    def read(self) -> Reloaded[SettingsT] | None:
        """Read and check the settings; None if they cannot be used, which is logged."""
        try:
            reloaded = compare(self.settings, self._read())
            self._check(reloaded.settings)
        except SettingsError as error:
            log_refusal(error)
            return None
        return reloaded

    def accept(self, reloaded: Reloaded[SettingsT]) -> None:
        """Note that new settings are in force; set the log level, and log the changes."""
        former, self.settings = self.settings, reloaded.settings
        # A change of the log level is logged at the more verbose of the two levels.
        levels = list(LogLevel)
        level = min(former.log_level, self.settings.log_level, key=levels.index)
        configure_logging(replace(self.settings, log_level=level))
        log.info("settings reloaded", changes=list(reloaded.changes) or "none")
        if reloaded.waiting:
            log.warning(
                "changed settings take effect at the next start", settings=list(reloaded.waiting)
            )
        configure_logging(self.settings)

    def reload(self) -> None:
        """Read and accept the settings, for a program without live options but those of the log."""
        reloaded = self.read()
        if reloaded is not None:
            self.accept(reloaded)
