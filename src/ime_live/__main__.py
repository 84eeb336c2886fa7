"""The command ``ime-live``, also as ``python -m ime_live``."""

from __future__ import annotations

import sys

from ime_live import signals


def main() -> None:
    """Run the command line.

    Exits with 0, 1 (it did not all succeed) or 2 (wrong use), or is ended by a signal.
    """
    # First of all: what follows takes half a second to import.
    signals.at_rest()
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


if __name__ == "__main__":
    main()
