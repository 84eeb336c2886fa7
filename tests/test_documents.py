"""The documents: generated ones are up to date, links lead somewhere, examples work.

The convention for examples, by the word after the fence:

- ``python``: a complete program. It is run, with the demo's address in the place of
  127.0.0.1:8000 and the tests' Valkey in that of redis://127.0.0.1:6379. It must end with status
  0, or print market data (a timestamp, or a key of the payload), whereupon it is stopped.
- ``py``: part of a program; only compiled.
- ``sh``: ``ime-live …`` is parsed as the command line does it, with its options' types; nothing
  is run. ``make …`` must be a target of the Makefile. ``curl …`` of 127.0.0.1:8000 is run against
  the demo, and must be answered with data and a status below 400.
- ``bash``: a whole example with ``valkey-cli``; `tests.test_schemas` runs it, and the ``js`` of
  the same document in Node.
- ``json``: must be JSON, whole or line by line.

Every other block is only text. A fence has one word, or none: renderers take more for text. In all
of the text, an ``IME_LIVE_…`` must be a setting. The Persian documents have the code of the English
ones, which is run once.
"""

from __future__ import annotations

import asyncio
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import typer.main
from websockets.asyncio.server import ServerConnection

from ime_live.cli import app
from ime_live.cli.arguments import env_file
from ime_live.contracts import Market
from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway.rest.static_data import TYPES
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market import Aggregate, AllowedPriceRange, BestLimit, ContractInfo, Level, Payload
from ime_live.settings import DemoSettings, UpSettings, options, variable
from tests.support.marks import thorough
from tests.support.paths import ROOT
from tests.support.rows import each_row
from tests.support.stream_messages import update
from tests.support.stream_service import service

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
DOCUMENTS.remove(ROOT / "README.fa.md")
TRANSLATIONS = {ROOT / "README.md": ROOT / "README.fa.md"} | {
    path.parents[1] / path.name: path for path in sorted((ROOT / "docs" / "fa").glob("*.md"))
}
RECORDS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
GENERATED = {"settings.md", "commands.md", "contract.json", "update.json"}
GENERATED |= {"openapi.json", "asyncapi.json"}
GENERATED |= {"README.md", "README.fa.md", "operations.md"}  # tables of figures

TIME_LIMIT = 20.0
MARKET_DATA = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{6}|IME Stream|buy_price|last_price|\d x \d+ / \d+ x \d"
)


class Block(NamedTuple):
    """A fenced block."""

    place: str
    text: str


def blocks_of(path: Path) -> Iterator[tuple[str, Block]]:
    """The words after the fence, and the block, of all blocks of a document."""
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(r"^( *)```([^\n`]*)\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start()) + 1
        inner = "\n".join(each.removeprefix(match[1]) for each in match[3].splitlines())
        yield match[2].strip(), Block(f"{path.name}:{line}", inner + "\n")


def blocks(language: str) -> list[Block]:
    """All blocks whose fence says ``language``."""
    return [block for said, block in all_blocks() if said == language]


@cache
def all_blocks() -> list[tuple[str, Block]]:
    """All blocks of all documents, with the words after their fences."""
    return [found for path in DOCUMENTS for found in blocks_of(path)]


# -- generated documents ------------------------------------------------------------------------


def test_generated_documents_are_up_to_date() -> None:
    written = runpy.run_path(str(ROOT / "docgen" / "generate.py"))["documents"]()
    assert {path.name for path in written} == GENERATED
    for path, text in written.items():
        assert path.read_text(encoding="utf-8") == text, "run `make docs`"


def test_generated_documents_do_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    generate = runpy.run_path(str(ROOT / "docgen" / "generate.py"))
    before = generate["documents"]()
    for name, value in {"COLUMNS": "200", "TERM": "dumb", "IME_LIVE_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert generate["documents"]() == before


def test_every_setting_is_in_the_table() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for each in (*options(UpSettings), *options(DemoSettings)):
        assert f"| `{variable(each.name)}` |" in text


def test_settings_that_commands_share_are_described_once() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in (
        "--redis-url",
        "--key-prefix",
        "--workers",
        "--jwt-public-key",
        "--hours-futures",
        "--log-format",
    ):
        assert f"\n  {name} " not in text
    for name in ("--data", "--seed", "--kid"):  # of one command
        assert text.count(f"\n  {name} ") == 1
    assert "(settings.md#redis-or-valkey)" in text
    assert "(settings.md#redis-or-valkey) (`--key-prefix`, `--redis-timeout`)" in text  # of up
    assert "Show this message" not in text


# -- documents written by hand ------------------------------------------------------------------


def anchors_of(path: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    made: set[str] = set()
    for heading in re.findall(r"^#+ +(.*?) *#*$", sentences(path), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*`]", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        made.add(next(s for n in range(99) if (s := f"{slug}-{n}" if n else slug) not in made))
    return made


ALL = [*DOCUMENTS, *TRANSLATIONS.values(), *RECORDS]


def sentences(path: Path) -> str:
    """The text of a document without its blocks."""
    text = path.read_text("utf-8")
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def links() -> Iterator[tuple[Path, str]]:
    """The links of all documents, each with its document."""
    for path in ALL:
        for link in re.findall(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)", sentences(path)):
            yield path, link


def test_links_lead_somewhere() -> None:
    anchors = cache(anchors_of)
    for path, link in links():
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{path.name}: {link}"
        # The site has the documents in docs/ and nothing else of the repository.
        top = ROOT / "docs" if path.is_relative_to(ROOT / "docs") else ROOT
        assert file.is_relative_to(top), f"{path.name}: {link} leaves {top.name}"
        if anchor:
            assert anchor in anchors(file), f"{path.name}: {link}"


def test_settings_that_are_named_exist() -> None:
    known = {variable(each.name) for each in (*options(UpSettings), *options(DemoSettings))}
    known |= {"IME_LIVE_URL", "IME_LIVE_TOKEN"}  # of the client library
    known |= {"IME_LIVE_NO_EXTENSIONS"}  # of the installation
    known |= {"OLD_VERSION_PYTHON"}  # of the tests
    for path in ALL:
        named = set(re.findall(r"\bIME_LIVE_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
        assert named <= known, path.name


def test_glossary_has_each_term_once() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    lists = re.findall(r"^\| (?!term \|)([^|]+) \|", text, re.MULTILINE)
    terms = Counter(term.strip() for each in lists for term in each.split(","))
    assert len(terms) > 100
    assert [term for term, count in terms.items() if count > 1] == []


def test_documents_have_no_markers_of_a_merge() -> None:
    marker = re.compile(r"^(<{7}|={7}|>{7})( |$)", re.MULTILINE)
    assert [path.name for path in ALL if marker.search(path.read_text(encoding="utf-8"))] == []


def log_events_of_operations() -> list[str]:
    """The log events that docs/operations.md quotes."""
    text = re.sub(r"\s+", " ", sentences(ROOT / "docs" / "operations.md"))
    return re.findall(r"\blog says `([^`]+)`", text)


def test_log_events_of_operations_exist() -> None:
    quoted = log_events_of_operations()
    assert len(quoted) >= 3
    modules = (ROOT / "src").rglob("*.py")
    source = "\n".join(path.read_text("utf-8") for path in modules)
    assert [event for event in quoted if f'"{event}' not in source] == []


def test_fences_have_one_word() -> None:
    for path in ALL:
        for said, block in blocks_of(path):
            assert len(said.split()) <= 1, f"{block.place}: ```{said}"


@each_row(
    ("english", "persian"),
    TRANSLATIONS.items(),
)
def test_translation_has_the_same_code_blocks(english: Path, persian: Path) -> None:
    def code(path: Path) -> list[tuple[str, str]]:
        return [(said, block.text) for said, block in blocks_of(path)]

    assert code(english)
    assert code(persian) == code(english)


@each_row(
    "path",
    TRANSLATIONS.values(),
)
def test_persian_text_runs_right_to_left_around_code_left_to_right(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith('<div dir="rtl" lang="fa" markdown>\n\n# ')
    assert text.endswith("\n\n</div>\n")
    outside: list[str] = []
    inside: list[str] = []
    for part in re.split(r'(?s)(<div dir="ltr" markdown>.*?\n</div>)', text):
        (inside if part.startswith('<div dir="ltr"') else outside).append(part)
    assert "```" not in "".join(outside)
    for code in re.findall(r"`([^`\n]+)`", re.sub(r"<!--.*?-->", "", "".join(outside))):
        # A dot or bracket at its end would be shown at the other end: write <code dir="ltr">.
        assert re.fullmatch(r"\w(.*\w)?", code), code
    for part in inside:
        assert re.fullmatch(r'(?s)<div dir="ltr" markdown>\n\n```.*\n```\n\n</div>', part)


HEADINGS = frozenset((ROOT / "tests" / "headings.txt").read_text(encoding="utf-8").splitlines())


def headings(path: Path) -> list[str]:
    """The headings of a document, without the marks before them."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ +(.*)$", text, re.MULTILINE)


def test_headings_are_from_the_list() -> None:
    # Those of commands.md are the commands, and those of performance.md the scenarios.
    used = {
        heading
        for path in (ROOT / "docs").glob("*.md")
        if path.name != "commands.md"
        for heading in headings(path)
        if not (path.name == "performance.md" and re.match(r"\w+: ", heading))
    }
    assert used - HEADINGS == set(), "take a word that people search for, and add it to the list"
    assert HEADINGS - used == set(), "no document has these any more"


PARTS_OF_A_RECORD = ["Context", "Choice", "Alternatives", "Consequences"]


def faults_of_record(name: str, text: str) -> list[str]:
    """Return the missing parts of a record of a decision; ``name`` is that of its file."""
    number = name[:4]
    faults = []
    if not re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name):
        faults.append("the name must be NNNN-title.md")
    if not re.match(rf"# {number}: \S", text):
        faults.append(f"the title must begin with {number}:")
    if not re.search(r"^Date: \d{4}-\d\d-\d\d(, changed \d{4}-\d\d-\d\d)?$", text, re.MULTILINE):
        faults.append("the date must be 'Date: YYYY-MM-DD', with ', changed YYYY-MM-DD' if it was")
    if not re.search(r"^Status: (proposed|accepted|superseded)\b", text, re.MULTILINE):
        faults.append("the status must be proposed, accepted or superseded")
    if re.findall(r"^## (.*)$", text, re.MULTILINE) != PARTS_OF_A_RECORD:
        faults.append("the headings must be " + ", ".join(PARTS_OF_A_RECORD))
    if any(not part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE)):
        faults.append("no part may be empty")
    return faults


@each_row(
    "path",
    RECORDS,
)
def test_record_of_decision_has_every_part(path: Path) -> None:
    assert faults_of_record(path.name, path.read_text(encoding="utf-8")) == []


def test_record_of_decision_without_a_part_is_found() -> None:
    path = RECORDS[0]
    text = path.read_text(encoding="utf-8")
    assert faults_of_record("9999-other.md", text)
    for line in re.findall(r"^(?:# |## |Date: |Status: ).*$", text, re.MULTILINE):
        assert faults_of_record(path.name, text.replace(f"{line}\n", "", 1)), line
    empty = re.sub(r"(## Context\n).*?(?=## )", r"\1", text, flags=re.DOTALL)
    assert faults_of_record(path.name, empty)


def test_index_of_decisions_has_every_record_under_its_title() -> None:
    rows = re.findall(
        r"^\| \[(\d{4})\]\(decisions/(.*?)\) \| (.*) \|$",
        (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert [f"# {number}: {title}" for number, _, title in rows] == [
        path.read_text(encoding="utf-8").partition("\n")[0] for path in RECORDS
    ]
    assert [name for _, name, _ in rows] == [path.name for path in RECORDS]
    assert len({number for number, _, _ in rows}) == len(rows)


def test_service_contract_has_every_section_and_field_of_a_payload() -> None:
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", text))
    sections = msgspec.structs.fields(Payload)
    assert {each.encode_name for each in sections} <= named
    for section in (BestLimit, Level, Aggregate, AllowedPriceRange, ContractInfo):
        assert {each.encode_name for each in msgspec.structs.fields(section)} <= named


@each_row("market", Market)
def test_service_contract_has_exactly_the_static_fields_of_a_market(market: Market) -> None:
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (every one|`IME.*) \| (.*) \|$", text, re.MULTILINE)
    named = [
        field
        for markets, fields in rows
        if markets == "every one" or f"`{market.value}`" in markets
        for field in re.findall(r"`(\w+)`", fields)
    ]
    fields = [each.encode_name for each in msgspec.structs.fields(TYPES[market])]
    assert sorted(named) == sorted(fields)


# Written by rule. The others are written by tools, or about former versions.
PLAIN = [
    path
    for path in [*DOCUMENTS, *RECORDS]
    if path.name not in {"CHANGELOG.md", "performance.md", "reliability.md", "soak.md"}
]
NOT_PLAIN = re.compile(
    r"(?:^|[.:;|-] )(?:What|Who|Whoever|Whatever)\b[^?.|]*[.|]"
    r"|[Tt]ime stamp"
    r"|\b(?:once|slot|row|message|channel|line)s? a contract\b",
    re.MULTILINE,
)


def test_sentences_have_a_subject_that_is_named() -> None:
    for path in PLAIN:
        assert [match[0] for match in NOT_PLAIN.finditer(sentences(path))] == [], path.name


@each_row(
    "text",
    [
        "What is wrong stays small.",
        "It ends. Whoever leaves the loop ends the stream.",
        "- What somebody publishes is stamped.",
        "| Who gets which update |",
        "Time stamps have no offset.",
        "It costs one slot a contract.",
    ],
)
def test_sentences_without_a_named_subject_are_found(text: str) -> None:
    assert NOT_PLAIN.search(text)


# -- examples -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block",
    [
        block if block.place.startswith(("README", "quickstart")) else thorough(block)
        for block in blocks("python")
    ],
    ids=lambda block: block.place,
)
def test_python_examples_run(block: Block, demo: str, valkey: EmbeddedValkey) -> None:
    program = block.text.replace("127.0.0.1:8000", demo)
    program = program.replace("redis://127.0.0.1:6379", valkey.url)
    run(block.place, "-c", program)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("example", "arguments"),
    [
        ("stream", ["ContractA", "SAFOR01"]),
        ("latest_state", ["ContractA"]),
        ("spread_alarm", ["0.001", "ContractA"]),
        ("backtest", ["ContractA"]),
        ("frame", ["2", "ContractA", "SAFOR01"]),
    ],
)
def test_bash_examples_run(example: str, arguments: list[str], demo: str) -> None:
    run(example, str(ROOT / "examples" / f"{example}.py"), f"ws://{demo}", *arguments)


def ending(*messages: bytes) -> Callable[[ServerConnection], Awaitable[None]]:
    """Send messages, and then refuse the client, which ends its stream."""

    async def answer(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message, text=True)
        await connection.close(CloseCode.POLICY_VIOLATION, "enough")

    return answer


def example(name: str) -> Any:  # noqa: ANN401 - as its arguments are
    """The function ``main`` of an example."""
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"]


async def test_latest_state_ends_with_the_streams_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sleep, looks = time.sleep, 0

    def shorter(_: float) -> None:
        nonlocal looks
        looks += 1
        assert looks < 200, "it goes on with what is old"
        sleep(0.01)

    monkeypatch.setattr(time, "sleep", shorter)
    async with service(ending(update("A", 1), update("B", 2), update("A", 3))) as gateway:
        with pytest.raises(RefusedError, match="enough"):
            await asyncio.to_thread(example("latest_state"), gateway.url, ["A", "B"])
    assert "Traceback" not in capsys.readouterr().err


def test_every_example_of_a_document_is_run() -> None:
    marks = test_bash_examples_run.pytestmark  # type: ignore[attr-defined]
    [mark] = [mark for mark in marks if mark.name == "parametrize"]
    files = {path.stem for path in (ROOT / "examples").glob("*.py")}
    # These read no stream; tests.client.test_examples runs them.
    assert files == {example for example, _ in mark.args[1]} | {
        "candles",
        "option_chain",
        "parquet",
    }


def run(place: str, *arguments: str) -> None:
    """Run a program until it ends well or has printed market data."""
    process = subprocess.Popen(  # noqa: S603 - our own example
        [sys.executable, "-u", "-W", "error", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = threading.Timer(TIME_LIMIT, process.kill)
    deadline.start()
    said = ""
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if MARKET_DATA.search(line) and "Traceback" not in said:
                process.kill()
                break
        else:
            assert process.wait() == 0, f"{place}: {said}"
    deadline.cancel()


def test_parts_of_python_programs_compile() -> None:
    for block in blocks("py"):
        compile(block.text, block.place, "exec")


@each_row(
    "block",
    blocks("json"),
)
def test_json_examples_are_json(block: Block) -> None:
    try:
        json.loads(block.text)
    except ValueError:
        lines = [line for line in block.text.splitlines() if line.strip()]
        assert len(lines) > 1
        for line in lines:
            json.loads(line)


def simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each command in a shell's text; of pipes and lists, each one."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|;&()"):
                yield words
                words = []
            else:
                words.append(word)


@cache
def command_line() -> object:
    """Our commands with their options."""
    return typer.main.get_command(app)


def parse(words: list[str]) -> None:
    """Parse a command line of ours, without running it.

    Raises:
        Exception: whatever Typer says is wrong with it.
    """
    if any(set(word) <= set("<>") for word in words):  # the rest is for the shell
        words = words[: next(n for n, word in enumerate(words) if set(word) <= set("<>"))]
    command: Any = command_line()
    arguments = list(words)
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command = command.commands[arguments.pop(0)]
    if hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        raise ValueError(f"no such command: {arguments[0]}")
    with suppress(typer.Exit):  # --help, --version
        command.make_context("ime-live", arguments)


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.place)
def test_shell_examples_are_command_lines(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env_file, "read", Path)  # the files are on the reader's machine
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in simple_commands(block.text):
        rest = list(words)
        while rest and (re.match(r"\w+=", rest[0]) or rest[0] in {"export", "exec", "sudo"}):
            rest.pop(0)
        match rest:
            case [program, *arguments] if Path(program).name == "ime-live":
                parse(arguments)
            case ["make", target, *_]:
                assert target in targets, f"{block.place}: make {target}"


def curls() -> list[Block]:
    """The commands that ask the gateway."""
    return [
        Block(block.place, " ".join(map(shlex.quote, words)))
        for block in blocks("sh")
        for words in simple_commands(block.text)
        if words[:1] == ["curl"] and any("127.0.0.1:8000" in word for word in words)
    ]


@pytest.mark.parametrize("command", curls(), ids=lambda command: command.place)
def test_curl_examples_are_answered(command: Block, demo: str) -> None:
    if shutil.which("curl") is None:
        reason = "curl is not installed, so its examples are not run"
        print(reason)
        pytest.skip(reason)
    words = shlex.split(command.text.replace("127.0.0.1:8000", demo))
    process = subprocess.Popen(  # noqa: S603 - our own example
        [*words, "--fail", "--silent", "--show-error", "--no-buffer"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = threading.Timer(TIME_LIMIT, process.kill)
    deadline.start()
    said = ""
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if MARKET_DATA.search(line):  # a stream of events has no end
                process.kill()
                break
        else:
            assert process.wait() == 0, said
    deadline.cancel()
    assert MARKET_DATA.search(said) or '"Data"' in said or '"ready":true' in said, said


@each_row("words", [["serv"], ["serve", "--prt", "1"], ["serve", "--port", "x"], ["publish"]])
def test_wrong_command_lines_are_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|must be|missing"):
        parse(words)
