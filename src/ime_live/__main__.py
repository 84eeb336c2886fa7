"""The command ``ime-live``; ``python -m ime_live`` runs it as well."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence

_FLAGS: Mapping[str, str] = {
    "--jwt-secret": "IME_LIVE_JWT_SECRET",
    "--token": "IME_LIVE_TOKEN",
    "--redis-url": "IME_LIVE_REDIS_URL",
    "--proxy": "IME_LIVE_PROXY",
}
"""Flags with secrets, and the environment variables with the same meaning."""

_ADDRESSES = ("--redis-url", "--proxy")
"""Flags with addresses, which are secret only if they have a password."""


def main() -> None:
    """Run the command line.

    The exit status is 0 for success, 1 for a failure and 2 for wrong usage.
    """
    if sys.platform == "win32":
        sys.stderr.write(
            "ime-live: the commands need Linux or macOS, got win32; on Windows, use the client "
            "library, or the commands in WSL\n"
        )
        sys.exit(2)
    # First of all: what follows takes half a second to import.
    from ime_live.process import signals

    signals.reset()
    _hide_secrets()
    _open_standard_files()
    try:
        from ime_live.cli import run

        run()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "ime_live":
            raise  # a bug, not a missing package
        # The base install is what a client needs; the commands need the servers' libraries.
        sys.exit(
            f"ime-live: the command line needs more packages ({error.name} is missing): "
            'pip install "ime-live[server]"'
        )


def _open_standard_files() -> None:
    """Open missing standard files on ``/dev/null``.

    Otherwise a later file or socket would get the number of standard error: libraries in C would
    write into it, and libuv aborts the process when it closes one of the first three.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # `open` takes the lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        # A command asks it whether it is a terminal.
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - to the end of the process


def _hide_secrets() -> None:
    """Restart the command without the secrets in its arguments, if it has any.

    Every user of a machine can read the arguments of all processes; the environment, only its own
    user and root. The process keeps its id.
    """
    variables: dict[str, str] = {}
    arguments = without_secrets(sys.argv[1:], variables)
    command = sys.orig_argv
    start = len(command) - len(sys.argv) + 1
    # In a process that was forked, and not started, these arguments are not its own.
    if not variables or start < 1 or command[start:] != sys.argv[1:]:
        return
    os.environ.update(variables)
    os.execv(sys.executable, [command[0], *command[1:start], *arguments])  # noqa: S606 - the same command


def without_secrets(arguments: Sequence[str], variables: MutableMapping[str, str]) -> list[str]:
    """Return arguments without the secrets, which are put into ``variables``.

    >>> variables = {}
    >>> without_secrets(["serve", "--jwt-secret", "abc", "--port=0"], variables), variables
    (['serve', '--port=0'], {'IME_LIVE_JWT_SECRET': 'abc'})
    """
    public: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*public, argument, *rest]
        flag, equals, value = argument.partition("=")
        if flag not in _FLAGS:
            public.append(argument)
            continue
        secret: str | None = value if equals else next(rest, None)
        words = [argument] if equals or secret is None else [argument, secret]
        # An empty flag overrides the variable, which an empty variable would not do.
        if not secret or (flag in _ADDRESSES and "@" not in secret):
            public += words
        else:
            variables[_FLAGS[flag]] = secret
    return public


if __name__ == "__main__":
    main()
