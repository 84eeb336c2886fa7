"""Build the extension in C where there is a compiler, and write the commit into the package.

The package is installed without a compiler, too. A wheel with the extension is for one platform and
all versions of Python from 3.11 on (the stable ABI); one without it is for all. An editable
installation gets it beside its source.

The commit comes from git, or from the variable `COMMIT` where the source is built without its
repository. A source distribution keeps it for the wheels that are built from it.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NO_EXTENSIONS: Final = "IME_LIVE_NO_EXTENSIONS"
COMMIT: Final = "IME_LIVE_COMMIT"

_FOLDER: Final = "ime_live/gateway/stream"
_FILE: Final = "_fanout.abi3.so"
_HEADERS: Final = ("include", "platinclude")
_FLAGS: Final = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared")


class PackageHook(BuildHookInterface[Any]):
    """Compiles `_fanout.c` when a wheel is built, and writes the commit into what is built."""

    _built: TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add what is built to a wheel or a source distribution.

        An ``editable`` wheel gets nothing: the extension is put beside its source, and git knows
        the commit.
        """
        given = _given_commit()
        self._built = TemporaryDirectory()
        if version != "editable":
            self._add_commit(given, Path(self._built.name), build_data)
        if self.target_name == "wheel":
            self._add_extension(Path(self._built.name), version, build_data)

    def _add_commit(self, given: str, folder: Path, build_data: dict[str, Any]) -> None:
        package = Path(self.root, "src", "ime_live")
        source = runpy.run_path(str(package / "monitoring" / "commit.py"))
        name: str = source["FILE"]
        if (package / name).exists():
            return  # a source distribution, which has it
        commit = given or source["checkout_commit"](Path(self.root))
        if not commit:
            self.app.display_warning(f"the commit is unknown: no git repository, nor {COMMIT}")
            return
        written = folder / name
        written.write_text(f"{commit}\n", encoding="ascii")
        within = "" if self.target_name == "wheel" else "src/"
        build_data["force_include"][str(written)] = f"{within}ime_live/{name}"

    def _add_extension(self, folder: Path, version: str, build_data: dict[str, Any]) -> None:
        source = Path(self.root, "src", _FOLDER, "_fanout.c")
        beside = source.with_name(_FILE)
        if version == "editable":
            beside.unlink(missing_ok=True)  # it may be an older one
        built = folder / _FILE
        reason = _compile(source, built)
        if reason:
            self.app.display_warning(f"{_FILE} is not built, Python does its work: {reason}")
        elif version == "editable":
            beside.write_bytes(built.read_bytes())
        else:
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"cp311-abi3-{platform}"
            build_data["force_include"][str(built)] = f"{_FOLDER}/{_FILE}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made; the wheel or source distribution has it."""
        del version, build_data, artifact_path
        if self._built is not None:
            self._built.cleanup()


def _given_commit() -> str:
    """Return the commit that the environment names, as short as git's; empty without one."""
    given = os.environ.get(COMMIT, "")
    if given and not re.fullmatch("[0-9a-f]{7,64}", given):
        raise ValueError(f"{COMMIT} must have 7 to 64 digits of base 16, got {given!r}")
    return given[:12]


def _compile(source: Path, built: Path) -> str:
    """Compile the extension; return why that is not possible, empty if it was."""
    if os.environ.get(NO_EXTENSIONS):
        return f"{NO_EXTENSIONS} is set"
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this Python has no stable ABI"
    if os.name != "posix":
        return "it is for POSIX"
    command = [
        *shlex.split(os.environ.get("CC", "cc")),
        *_FLAGS,
        *(("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()),
        *(f"-I{folder}" for folder in dict.fromkeys(map(sysconfig.get_path, _HEADERS))),
        *shlex.split(os.environ.get("CFLAGS", "")),
        *(str(source), "-o", str(built)),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except OSError as error:
        return f"there is no compiler {command[0]!r} ({error.strerror})"
    except subprocess.CalledProcessError as error:
        return f"{shlex.join(command)} failed:\n{error.stderr}"
    return ""
