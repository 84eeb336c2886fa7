"""The command ``ime-live``, also as ``python -m ime_live``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exits with 0, 1 (it did not all succeed) or 2 (wrong use)."""
    try:
        from ime_live.cli import run
    except ModuleNotFoundError as error:
        # The base install is what a client needs; the commands need the servers' libraries.
        sys.exit(
            f"ime-live: the command line needs more packages ({error.name} is missing): "
            'pip install "ime-live[server]"'
        )
    run()


if __name__ == "__main__":
    main()
