"""The command ``ime-live``, also as ``python -m ime_live``."""

from __future__ import annotations

import os
import sys

from ime_live import signals


def main() -> None:
    """Run the command line.

    Exits with 0, 1 (it did not all succeed) or 2 (wrong use), or is ended by a signal.
    """
    # First of all: what follows takes half a second to import.
    signals.at_rest()
    _open_standard_files()
    try:
        from ime_live.cli import run

        run()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "ime_live":
            raise  # a defect of ours, not a package that is missing
        # The base install is what a client needs; the commands need the servers' libraries.
        sys.exit(
            f"ime-live: the command line needs more packages ({error.name} is missing): "
            'pip install "ime-live[server]"'
        )


def _open_standard_files() -> None:
    """Open what the process was started without, to nowhere.

    A file of ours would have its number else: libraries in C would write their errors into a
    connection, and libuv aborts the process when it closes one of the first three.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number is taken, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        # A command asks it whether it is a terminal.
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - to the end of the process


if __name__ == "__main__":
    main()
