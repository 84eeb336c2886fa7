"""The public names: exported, documented, copied and pickled, and imported on first use."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec
import pytest

import ime_live
from ime_live import errors
from ime_live.client.protocol.message import Reader
from ime_live.timezones import zone_of_tehran
from tests.support.rows import each_row
from tests.support.stream_messages import DATA, update

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


def test_every_exported_name_exists() -> None:
    assert ime_live.__all__ == sorted(ime_live.__all__)
    for name in ime_live.__all__:
        assert getattr(ime_live, name) is not None
        assert name in dir(ime_live)


def test_every_public_name_is_exported() -> None:
    assert {*ime_live._MODULES, "__version__"} == set(ime_live.__all__)


def test_every_error_that_reaches_a_program_is_public() -> None:
    found = {
        name
        for name, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, Exception)
    }
    # The gateway raises it and answers with 429, which a program gets as a ServiceError.
    assert found - set(ime_live.__all__) == {"LimitError"}


# -- copies --------------------------------------------------------------------------------------

PUBLIC = {name: getattr(ime_live, name) for name in ime_live.__all__}
# They hold connections, threads or tasks.
RUNNING = {"AsyncClient", "BlockingStream", "Client", "Connecting", "Publisher", "Stream"}
PAYLOAD = ime_live.read_payload(DATA)
CONTRACT = ime_live.Contract(contract_id="1", contract_name="A", market=ime_live.Market.FUTURES)
NOW = datetime(2026, 5, 23, 15, 10, tzinfo=UTC)


def message(kind: Any = ime_live.Payload, **more: Any) -> Any:  # noqa: ANN401 - any message
    """A message as a stream delivers it."""
    return Reader(zone_of_tehran(), kind).read(update("A", **more))


VALUES: dict[str, list[Any]] = {
    "Aggregate": [PAYLOAD.aggregate],
    "AllowedPriceRange": [PAYLOAD.allowed_price_range],
    "BestLimit": [PAYLOAD.best_limit],
    "Candle": [ime_live.Candle("2026-11-28T11:45:00", 5, 7, 4, 6, 9, 54, 3, 20, 5, 6)],
    "CloseCode": list(ime_live.CloseCode),
    "ConnectionEvent": [ime_live.ConnectionEvent(connected=False, reason="away", final=True)],
    "Contract": [CONTRACT],
    "ContractInfo": [PAYLOAD.contract_info],
    "FeedState": list(ime_live.FeedState),
    "Interval": list(ime_live.Interval),
    "Level": [PAYLOAD.best_limit["1"]],
    "Market": list(ime_live.Market),
    "MarketInfo": [
        ime_live.MarketInfo(market=ime_live.Market.FUND, time_zone="", sessions={}, holidays=())
    ],
    "OptionPair": [ime_live.OptionPair(5, NOW.date(), ime_live.Overview(CONTRACT, PAYLOAD), None)],
    "Message": [
        message(),
        message(ime_live.PayloadSections, data={"Aggregate": DATA["Aggregate"]}),
    ],
    "Overview": [ime_live.Overview(CONTRACT, PAYLOAD), ime_live.Overview(CONTRACT, None)],
    "PayloadSections": [ime_live.PayloadSections(aggregate=PAYLOAD.aggregate)],
    "Payload": [PAYLOAD],
    "PublishResult": [ime_live.PublishResult("1", version=5, published=True)],
    "Selected": [ime_live.Selected(("A",), ("1",))],
    "Status": [
        ime_live.Status(
            timestamp=NOW,
            feed=ime_live.FeedState.LIVE,
            since=NOW,
            last_board=None,
            current=True,
            markets={ime_live.Market.FUTURES: ime_live.FeedState.LIVE},
            contracts={"A": NOW, "B": None},
        )
    ],
}

ERRORS: dict[str, Exception] = {
    name: found("the text")
    for name, found in PUBLIC.items()
    if inspect.isclass(found)
    and issubclass(found, Exception)
    and name not in {"IncompleteError", "FencedError"}
} | {
    "AuthenticationError": ime_live.AuthenticationError("token expired", detail="an hour ago"),
    "ControlError": ime_live.ControlError("the text", id=5),
    "FencedError": ime_live.FencedError("the text", token=7),
    "IncompleteError": ime_live.IncompleteError("the text", found={"1": 5}, left=["2"]),
    "PayloadError": ime_live.PayloadError("the text", kind="a kind"),
    "RefusedError": ime_live.RefusedError("x" * 200, code=ime_live.CloseCode.GOING_AWAY),
    "ServiceError": ime_live.ServiceError("the text", status=404),
    "StoreError": ime_live.StoreError("the text", kind="a kind"),
}

COPIES = [
    copy.copy,
    copy.deepcopy,
    *(
        lambda value, protocol=protocol: pickle.loads(pickle.dumps(value, protocol))  # noqa: S301
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ),
]


def test_every_public_class_has_an_example() -> None:
    classes = {name for name, found in PUBLIC.items() if inspect.isclass(found)}
    assert classes == VALUES.keys() | ERRORS.keys() | RUNNING


@each_row("name", VALUES)
def test_copied_and_pickled_values_are_equal(name: str) -> None:
    for value in VALUES[name]:
        assert type(value).__name__ == name
        for copied in COPIES:
            made = copied(value)
            assert made == value
            assert repr(made) == repr(value)
            if isinstance(value, ime_live.Message):
                assert (made.data, made.timestamp) == (value.data, value.timestamp)
                assert hash(made) == hash(value)


@each_row("name", ERRORS)
def test_copied_and_pickled_errors_keep_text_and_attributes(name: str) -> None:
    error = ERRORS[name]
    error.add_note("a note")
    assert type(error).__name__ == name
    for copied in COPIES:
        made = copied(error)
        assert type(made) is type(error)
        assert (str(made), made.args, vars(made)) == (str(error), error.args, vars(error))


def test_messages_that_differ_are_not_equal() -> None:
    first = message()
    assert first == message()
    others = [message(number=1), message(ime_live.PayloadSections), message(skipped=3), first.raw]
    counted = message()
    counted.skipped = 1
    for other in [*others, counted]:
        assert first != other
    assert len({first, message(), message(number=1)}) == 2
    other_zone = Reader(UTC, ime_live.Payload).read(first.raw)
    assert first != other_zone


def test_error_of_result_is_kept_by_pickle() -> None:
    result = ime_live.PublishResult("1", error=ime_live.PayloadError("the text", kind="a kind"))
    made = pickle.loads(pickle.dumps(result))  # noqa: S301 - our own
    assert msgspec.structs.replace(made, error=None) == ime_live.PublishResult("1")
    assert (str(made.error), made.kind) == ("the text", "a kind")


def test_public_names_are_imported_on_first_use() -> None:
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


def test_star_import_has_every_public_name() -> None:
    names: dict[str, object] = {}
    exec("from ime_live import *", names)  # noqa: S102 - the only place where it is allowed
    assert set(ime_live.__all__) <= set(names)


def test_version_is_the_installed_one() -> None:
    assert ime_live.__version__ == version("ime-live")


def test_missing_name_is_an_attribute_error() -> None:
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


@pytest.mark.thorough
def test_streaming_needs_only_the_base(demo: str) -> None:
    done = with_the_base_only(STREAMING.replace("DEMO", demo))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("+03:30")
    assert done.stdout.splitlines()[1] == "[]"


@pytest.mark.thorough
def test_streaming_needs_no_tz_database(demo: str) -> None:
    done = with_the_base_only(STREAMING.replace("DEMO", demo), PYTHONTZPATH="")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["+03:30 Asia/Tehran 0", "[]"]


@pytest.mark.parametrize(
    "program", ["import ime_live; ime_live.Publisher", "from ime_live import Publisher"]
)
def test_publishing_without_its_extra_names_the_package(program: str) -> None:
    done = with_the_base_only(program)
    assert done.returncode == 1
    *_, error = done.stderr.splitlines()
    assert error.startswith("ImportError: Publisher needs more packages (")
    assert error.endswith('is missing): pip install "ime-live[server]"')


def test_commands_without_their_extra_name_the_package() -> None:
    done = with_the_base_only("from ime_live.__main__ import main; main()")
    assert done.returncode == 1
    assert done.stderr.startswith("ime-live: the command line needs more packages (typer is")
    assert done.stderr.endswith('is missing): pip install "ime-live[server]"\n')
