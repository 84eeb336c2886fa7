"""A target: a function that takes any bytes, and checks what the program makes of them.

A target passes if the program accepts the input and everything that the target asserts holds, or
if the program refuses it by one of the allowed errors. Any other error is a fault; so is a caught
exception that the program writes to its log, and an input that takes too long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from msgspec import Struct

MAX_INPUT: Final = 65_536
"""Bytes of the longest input."""

MAX_SECONDS: Final = 1.0
"""CPU seconds that any input may take; most take less than a millisecond."""


class FaultError(Exception):
    """An input shows a fault that raises no error by itself; the text says which."""


class Target(Struct, frozen=True):
    """A kind of input.

    Attributes:
        name: its name, which is also that of its folder in the corpus.
        about: what reads the input.
        run: reads an input; asserts what must hold.
        allowed: errors that say that an input is refused.
        words: parts of such inputs, from which others are made.
    """

    name: str
    about: str
    run: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...] = ()
    words: tuple[bytes, ...] = ()

    def check(self, data: bytes, *, seconds: float = MAX_SECONDS) -> bool:
        """Run the target with one input.

        Args:
            data: the input.
            seconds: CPU time that it may take.

        Returns:
            Whether the program accepts the input.

        Raises:
            FaultError: it takes too long, or the program has logged an exception.
            Exception: any other error than the allowed ones is a fault.
        """
        begin = time.process_time()
        accepted = True
        with _logged_exceptions() as logged:
            try:
                self.run(data)
            except self.allowed:
                accepted = False
        if logged:
            raise FaultError(f"the program has logged an exception: {logged[0]}") from logged[0]
        if (taken := time.process_time() - begin) > seconds:
            raise FaultError(f"{len(data)} bytes must take {seconds:g} s at most, got {taken:.1f}")
        return accepted


@contextmanager
def _logged_exceptions() -> Iterator[list[BaseException]]:
    """Discard log lines, and yield a list of the exceptions in them."""
    exceptions: list[BaseException] = []

    def note(_logger: object, _method: str, event: Any) -> Any:  # noqa: ANN401 - structlog's types
        error = event.get("exc_info")
        if isinstance(error, BaseException):
            exceptions.append(error)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[note])
    try:
        yield exceptions
    finally:
        structlog.configure(**before)
