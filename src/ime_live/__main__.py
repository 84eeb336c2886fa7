"""The command ``ime-live``, also as ``python -m ime_live``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line.

    Exits with 0, 1 (it did not all succeed), 2 (wrong use) or 130 (ended by Ctrl-C).
    """
    try:
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
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(130)


if __name__ == "__main__":
    main()
