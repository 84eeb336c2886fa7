"""Build the extension in C where there is a compiler; the package is installed without one, too.

A wheel with the extension is for one platform and all versions of Python from 3.11 on (the stable
ABI); one without it is for all. An editable installation gets it beside its source.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NO_EXTENSIONS: Final = "IME_LIVE_NO_EXTENSIONS"

_FOLDER: Final = "ime_live/gateway/stream"
_FILE: Final = "_fanout.abi3.so"
_HEADERS: Final = ("include", "platinclude")
_FLAGS: Final = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared")


class ExtensionHook(BuildHookInterface[Any]):
    """Compiles `_fanout.c` when a wheel is built."""

    _built: TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the extension to the wheel, or put it beside its source if that is ``editable``."""
        source = Path(self.root, "src", _FOLDER, "_fanout.c")
        beside = source.with_name(_FILE)
        if version == "editable":
            beside.unlink(missing_ok=True)  # it may be an older one
        self._built = TemporaryDirectory()
        built = Path(self._built.name, _FILE)
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
        """Remove what was compiled; the wheel has it."""
        del version, build_data, artifact_path
        if self._built is not None:
            self._built.cleanup()


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
