"""Static files: types, entity tags and compression; and the browser module under Node.js."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from ime_live.gateway.web.static_files import module_routes, page_routes, read_files
from tests.support.asgi import request
from tests.support.paths import ROOT

HERE = Path(__file__).parent
STATIC = Path(str(files("ime_live.gateway.web").joinpath("static")))
PAGE = {each.name: each.read_bytes() for each in STATIC.joinpath("page").iterdir()}


async def get(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask the routes of the module and of the market page."""
    answer = await request([*module_routes(), *page_routes()], path, method, **headers)
    return answer.status, answer.headers, answer.body


@pytest.mark.parametrize(
    ("name", "kind"), [("ime-live.js", "text/javascript"), ("ime-live.d.ts", "text/plain")]
)
async def test_module_is_served_to_pages_of_any_origin(name: str, kind: str) -> None:
    status, headers, body = await get(f"/{name}")
    assert (status, body) == (200, (STATIC / name).read_bytes())
    assert headers["content-type"] == f"{kind}; charset=utf-8"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["x-content-type-options"] == "nosniff"


async def test_module_is_compressed_and_revalidated() -> None:
    _, headers, body = await get("/ime-live.js", Accept_Encoding="gzip, br")
    assert headers["content-encoding"] == "gzip"
    assert headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(body) == (STATIC / "ime-live.js").read_bytes()
    assert len(body) < 14_000
    tag = headers["etag"]
    for sent in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
        status, again, empty = await get("/ime-live.js", If_None_Match=sent)
        assert (status, again["etag"], empty) == (304, tag, b"")
    status, _, _ = await get("/ime-live.js", If_None_Match='"other"')
    assert status == 200


@pytest.mark.parametrize("path", ["/static_files.py", "/ime-live.js/x", "/../static_files.py"])
async def test_file_outside_the_list_is_not_served(path: str) -> None:
    assert (await get(path))[0] == 404
    assert (await get("/ime-live.js", "POST"))[0] == 405


@pytest.mark.parametrize("name", PAGE)
async def test_page_is_served_with_a_strict_policy(name: str) -> None:
    path = "/" if name == "index.html" else f"/page/{name}"
    status, headers, body = await get(path)
    assert (status, body) == (200, PAGE[name])
    rules = dict(
        rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";")
    )
    assert rules.pop("require-trusted-types-for") == "'script'"
    assert set(rules.values()) == {"'none'", "'self'"}
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    assert "access-control-allow-origin" not in headers


async def test_page_is_small_and_names_no_other_host() -> None:
    whole, sent = 0, 0
    for name, content in PAGE.items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://[\w$]|[\"'(]//", text), name
        assert not re.search(r"\bstyle=|\bon\w+=|innerHTML|\beval\b", text), name
        path = "/" if name == "index.html" else f"/page/{name}"
        _, _, body = await get(path, Accept_Encoding="gzip")
        whole, sent = whole + len(content), sent + len(body)
    assert whole < 100_000
    _, _, module = await get("/ime-live.js", Accept_Encoding="gzip")
    assert sent + len(module) < 50_000


@pytest.mark.parametrize(
    "path", ["/page/nothing.js", "/page/index.html", "/page/../ime-live.js", "/page/"]
)
async def test_other_files_of_the_page_are_not_served(path: str) -> None:
    assert (await get(path))[0] == 404


def test_files_of_unknown_types_are_left_out() -> None:
    found = read_files("ime_live.gateway", "web", {})
    assert found == {}  # only modules of Python


def test_types_and_document_have_every_option_and_error() -> None:
    module, types = ((STATIC / f"ime-live.{kind}").read_text("utf-8") for kind in ("js", "d.ts"))
    document = (ROOT / "docs" / "browser.md").read_text(encoding="utf-8")

    def block(text: str, begin: str, end: str) -> str:
        return text.partition(begin)[2].partition(end)[0]

    options = set(
        re.findall(r"^  (\w+)\?:", block(types, "interface Contracts {", "\n}"), re.MULTILINE)
    )
    options |= set(
        re.findall(r"^  (\w+)\?:", block(types, "interface StreamOptions", "\n}"), re.MULTILINE)
    )
    rows = re.findall(r"^\| (`.*?) \|", block(document, "## Connecting", "\n## "), re.MULTILINE)
    assert options == set(re.findall(r"`(\w+)`", "".join(rows)))
    assert set(re.findall(r"(\w+):", block(module, "const DEFAULTS = {", "};"))) < options
    errors = set(re.findall(r"^export class (\w+Error)\b", module, re.MULTILINE))
    assert errors == set(re.findall(r"^export class (\w+Error)\b", types, re.MULTILINE))
    rows = re.findall(r"^\| `(\w+Error)` \|", document, re.MULTILINE)
    assert errors == {*rows, "ImeLiveError"}


def missing(program: str, purpose: str) -> None:
    """Skip the test, or fail it where everything must be there."""
    reason = f"{program} is not installed, so {purpose}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    print(reason)
    pytest.skip(reason)


def run(*command: str, folder: Path = HERE) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(  # noqa: S603 - programs that are named here
        command, capture_output=True, text=True, cwd=folder, timeout=100, check=False
    )


@pytest.mark.thorough
def test_browser_module_passes_its_tests_in_node() -> None:
    node = shutil.which("node")
    if node is None:
        missing("node", "the browser module is not tested without a browser")
    assert node is not None
    done = run(node, "--test", "--test-reporter=tap", "ime_live.test.mjs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# fail 0" in done.stdout
    assert "# skipped 0" in done.stdout


def typescript() -> list[str]:
    """The command of TypeScript's compiler; the test is skipped where there is none."""
    compiler = shutil.which("tsc")
    if compiler is None:
        missing("tsc (npm's package typescript)", "the types of the browser module are not checked")
    assert compiler is not None
    return [compiler, "--noEmit", "--strict", "--target", "ES2022", "--module", "ES2022"]


@pytest.mark.thorough
def test_types_of_browser_module_are_strict(tmp_path: Path) -> None:
    compiler = typescript()
    for name in ("ime-live.d.ts", "ime-live.js"):
        shutil.copy(STATIC / name, tmp_path)
    shutil.copy(HERE / "ime_live_types.ts", tmp_path)
    options = ["--moduleResolution", "bundler", "--lib", "ES2022,DOM,DOM.Iterable"]
    done = run(*compiler, *options, "ime_live_types.ts", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    text = (tmp_path / "ime_live_types.ts").read_text(encoding="utf-8")
    (tmp_path / "wrong.ts").write_text(text.replace('"IMEOption"', '"IMEOptions"'), "utf-8")
    assert run(*compiler, *options, "wrong.ts", folder=tmp_path).returncode != 0


@pytest.mark.thorough
def test_examples_of_documentation_fit_the_types(tmp_path: Path) -> None:
    compiler = typescript()
    text = (ROOT / "docs" / "browser.md").read_text(encoding="utf-8")
    examples = re.findall(r"```js\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 4
    shutil.copy(STATIC / "ime-live.d.ts", tmp_path)
    for number, example in enumerate(examples):
        own = example.replace("https://example.org/ime-live.js", "./ime-live.js")
        (tmp_path / f"example{number}.ts").write_text(own, encoding="utf-8")
    sources = [f"example{number}.ts" for number in range(len(examples))]
    options = ["--moduleResolution", "bundler", "--lib", "ES2022,DOM,DOM.Iterable"]
    done = run(*compiler, *options, *sources, folder=tmp_path)
    assert done.returncode == 0, done.stdout
