from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

import ime_live

# Runs a program with only the base install's packages and the standard library to be found.
BASE_ONLY = """
import sys
from importlib.abc import MetaPathFinder

class OnlyTheBase(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        known = {"ime_live", "msgspec", "websockets"} | sys.stdlib_module_names
        # How this Python was built: the standard library's, under a name of its own.
        if root not in known and not root.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyTheBase())
"""


def with_the_base_only(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "error", "-c", BASE_ONLY + program],
        capture_output=True,
        text=True,
        env=os.environ | variables,
        timeout=30,
        check=False,
    )


def test_every_name_is_there() -> None:
    assert ime_live.__all__ == sorted(ime_live.__all__)
    for name in ime_live.__all__:
        assert getattr(ime_live, name) is not None
        assert name in dir(ime_live)


def test_nothing_public_is_left_out() -> None:
    assert {*ime_live._MODULES, "__version__"} == set(ime_live.__all__)


def test_nothing_is_imported_before_it_is_used() -> None:
    program = (
        "import sys; before = set(sys.modules); import ime_live\n"
        "print(sorted({n.partition('.')[0] for n in set(sys.modules) - before} - {'ime_live'}))\n"
        "assert ime_live.Level is ime_live.Level and 'msgspec' in sys.modules\n"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "msgspec" not in done.stdout
    assert "asyncio" not in done.stdout


def test_all_of_them_by_a_star() -> None:
    names: dict[str, object] = {}
    exec("from ime_live import *", names)  # noqa: S102 - the only place where it is allowed
    assert set(ime_live.__all__) <= set(names)


def test_the_version_is_the_installed_one() -> None:
    assert ime_live.__version__ == version("ime-live")


def test_what_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'ime_live' has no attribute 'Nonsense'"):
        ime_live.Nonsense  # noqa: B018


def test_reading_needs_only_the_base() -> None:
    done = with_the_base_only(
        "import ime_live, ime_live.market, ime_live.contracts, ime_live.errors, websockets\n"
        "names = set(ime_live.__all__) - {'Publisher', 'PublishResult'}\n"
        "assert all(getattr(ime_live, name) for name in names)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


STREAMING = """
import asyncio, sys, zoneinfo, ime_live

async def main():
    async with ime_live.connect("ws://DEMO", ["ContractA"], proxy=None) as stream:
        first = await anext(stream)
        await stream.add(["SAFOR01"])
        while (await anext(stream)).contract_name != "SAFOR01":
            pass
    return first

first = asyncio.run(main())
with ime_live.connect("ws://DEMO", ["ContractA"], proxy=None) as stream:
    again = next(stream)
assert first.data.best_limit["1"].buy_price > 0 and again.timestamp >= first.timestamp
zones = len(zoneinfo.available_timezones())
print(first.timestamp.isoformat()[-6:], first.timestamp.tzname(), zones)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"redis", "uvicorn", "tzdata"}))
"""


def test_streaming_needs_only_the_base(demo: str) -> None:
    done = with_the_base_only(STREAMING.replace("DEMO", demo))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("+03:30")
    assert done.stdout.splitlines()[1] == "[]"


def test_streaming_needs_no_tz_database(demo: str) -> None:
    done = with_the_base_only(STREAMING.replace("DEMO", demo), PYTHONTZPATH="")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["+03:30 Asia/Tehran 0", "[]"]


@pytest.mark.parametrize(
    "program", ["import ime_live; ime_live.Publisher", "from ime_live import Publisher"]
)
def test_publishing_says_what_it_needs(program: str) -> None:
    done = with_the_base_only(program)
    assert done.returncode == 1
    *_, error = done.stderr.splitlines()
    assert error.startswith("ImportError: Publisher needs more packages (")
    assert error.endswith('is missing): pip install "ime-live[server]"')


def test_the_commands_say_what_they_need() -> None:
    done = with_the_base_only("from ime_live.__main__ import main; main()")
    assert done.returncode == 1
    assert done.stderr.startswith("ime-live: the command line needs more packages (typer is")
    assert done.stderr.endswith('is missing): pip install "ime-live[server]"\n')
