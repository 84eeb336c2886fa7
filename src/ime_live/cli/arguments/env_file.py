"""Environment files: read settings and secrets from lines ``NAME=value``.

The format is that of Docker's ``--env-file`` and systemd's ``EnvironmentFile``, with quotes,
comments and ``export`` as in shells. ``$`` in a value has no special meaning.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ime_live.errors import SettingsError, system_reason

OPTION: Final = "--env-file"
VARIABLE: Final = "IME_LIVE_ENV_FILE"

_paths: dict[str, Path] = {}
"""Variables that were set from a file, with its path."""


def variables_of(path: Path) -> dict[str, str]:
    """Read an environment file.

    Returns:
        The variables in the order of the file; the last value if a name occurs twice.

    Raises:
        SettingsError: the file cannot be read, or a line is not ``NAME=value``. The text has the
            number of the line but not the line, which may hold a secret.
    """
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8") as file:
            lines = list(parse_stream(file))
    except OSError as error:
        raise SettingsError(f"{OPTION} {path} cannot be read: {system_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{OPTION} {path} must be UTF-8, got other bytes") from error
    variables: dict[str, str] = {}
    for line in lines:
        if line.error or (line.key is not None and line.value is None):
            raise SettingsError(
                f"{OPTION} {path}, line {line.original.line}, must be NAME=value, got something "
                "else"
            )
        if line.key is not None:
            variables[line.key] = line.value or ""
    return variables


def read(path: Path) -> None:
    """Set the variables of a file in the environment; those that are set already keep their value.

    Raises:
        SettingsError: see `variables_of`; then nothing is set.
    """
    _set(path, variables_of(path))


def read_again(path: Path | None) -> None:
    """Set the variables as `read` would at the start, after the file may have changed.

    Args:
        path: the file; None if there is none.

    Raises:
        SettingsError: see `variables_of`; then nothing is changed.
    """
    if path is None:
        return
    variables = variables_of(path)
    for name in _paths:
        os.environ.pop(name, None)
    _paths.clear()
    _set(path, variables)


def _set(path: Path, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if not os.environ.get(name):
            os.environ[name] = value
            _paths[name] = path


def rename(former: str, present: str) -> None:
    """Note that a variable has been renamed."""
    if former in _paths:
        _paths[present] = _paths.pop(former)


def path_of(variable: str) -> Path | None:
    """Return the file that has set a variable; None if it was set otherwise."""
    return _paths.get(variable)
