"""Every error text of the client library, found in its code: it says what must hold, and the value.

Errors are found where they are made. A text may be a constant, an f-string, a name that is given
one, or the result of a function of the same module.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ime_live.client
from ime_live import errors

RULE = re.compile(r"\b(must|cannot|is not|expected)\b")
VALUE = re.compile(r"\{\}|\bgot\b")

SOURCE = Path(ime_live.client.__file__).parent

# Made in the library and caught there, or raised by Python's own convention.
INTERNAL = {
    *("CallError", "ProxyStatusError", "OSError", "ValueError", "_StaleError", "AttributeError")
}

# Texts of others, given on as they are: close reasons, explanations of REST calls, and errors of
# commands, which deployed programs compare.
FOREIGN = {
    ("protocol/close_reason.py", "AuthenticationError(reason)"),
    ("protocol/close_reason.py", "UnknownContractError(reason)"),
    ("protocol/command.py", "UnknownContractError(text)"),
    ("protocol/command.py", "ControlError(text)"),
    ("protocol/command.py", "RefusedError(text)"),
    ("rest/caller.py", "AuthenticationError(response.detail)"),
}

# The text comes from a place that is checked by itself: another error, or a reason.
PASSED_ON = {
    ("options.py", "SettingsError(f'IME_LIVE_URL: {error}')"),
    ("portal.py", "ServiceError(self._over)"),
    ("protocol/close_reason.py", "ServiceError(text)"),
    ("rest/caller.py", "ServiceError(reason.text)"),
    ("rest/caller.py", "CloseReason(str(error), error, unclear=response.status == 400)"),
}

# No value is to be shown: it may be a secret, or there is none.
WITHOUT_VALUE = {
    ("network/websocket.py", "CloseReason.final"): "an address may hold a password",
    ("rest/caller.py", "ServiceError(CLIENT_CLOSED)"): "nothing was given",
    ("stream/receiver.py", "ServiceError(STREAM_ENDED)"): "nothing was given",
    ("connecting.py", "RuntimeError"): "nothing was given",
    ("rest/http.py", "ImportError"): "nothing was given",
}


@dataclass(frozen=True)
class Made:
    """An error that is made in the code: where, how, and the texts that it may have."""

    place: str
    kind: str
    code: str
    texts: tuple[str, ...]


class Module:
    """One module of the library, and the texts that its expressions may have."""

    def __init__(self, path: Path, source: Path = SOURCE) -> None:
        self.name = path.relative_to(source).as_posix()
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self._assignments: dict[ast.AST, dict[str, list[ast.expr | None]]] = {}
        self.functions = {
            node.name: node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    def texts(self, node: ast.expr | None, scope: ast.AST) -> Iterator[str]:
        """Find what an expression may be, with ``{}`` for values."""
        match node:
            case ast.Constant(value=str() as text):
                yield text
            case ast.JoinedStr(values=parts):
                whole = [""]
                for part in parts:
                    inner = part.value if isinstance(part, ast.FormattedValue) else part
                    found = list(self.texts(inner, scope)) or ["{}"]
                    whole = [before + after for before in whole for after in found]
                yield from whole
            case ast.BinOp(left=left, right=right):
                for before in self.texts(left, scope):
                    yield before
                    yield from (before + after for after in self.texts(right, scope))
            case ast.BoolOp(values=values):
                for value in values:
                    yield from self.texts(value, scope)
            case ast.NamedExpr(value=value):
                yield from self.texts(value, scope)
            case ast.Call(func=ast.Attribute(value=text, attr="lstrip")):
                yield from self.texts(text, scope)
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                for each in ast.walk(self.functions[name]):
                    if isinstance(each, ast.Return):
                        yield from self.texts(each.value, self.functions[name])
            case ast.Name(id=name):
                yield from self._given(name, scope)

    def _given(self, name: str, scope: ast.AST) -> Iterator[str]:
        for where in (scope, self.tree):
            for value in self._assigned(where).get(name, ()):
                yield from self.texts(value, scope)

    def _assigned(self, where: ast.AST) -> dict[str, list[ast.expr | None]]:
        """The values that names are given in a function, or at the top of the module."""
        if where in self._assignments:
            return self._assignments[where]
        found: dict[str, list[ast.expr | None]] = {}
        nodes = ast.iter_child_nodes(where) if where is self.tree else ast.walk(where)
        for node in nodes:
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=target)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=target), value=value)
                    | ast.NamedExpr(target=ast.Name(id=target), value=value)
                ):
                    found.setdefault(target, []).append(value)
        self._assignments[where] = found
        return found

    def made(self) -> Iterator[Made]:
        for scope in ast.walk(self.tree):
            if not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and (kind := self._kind(node.func)) is not None:
                    text = node.args[0] if node.args else None
                    texts = tuple(dict.fromkeys(self.texts(text, scope)))
                    yield Made(self.name, kind, ast.unparse(node), texts or constants(text))

    def _kind(self, function: ast.expr) -> str | None:
        match function:
            case ast.Name(id=name) if is_error(name):
                return name
            # The REST calls raise every reason; a stream raises those that are final.
            case ast.Name(id="CloseReason") if self.name.startswith("rest/"):
                return "CloseReason"
            case ast.Attribute(value=ast.Name(id="CloseReason"), attr=name):
                return f"CloseReason.{name}"
        return None


def is_error(name: str) -> bool:
    """Return whether a class is an error of the package, of Python or of the library's own."""
    found = getattr(errors, name, None) or getattr(builtins, name, None)
    is_class = isinstance(found, type) and issubclass(found, Exception)
    return is_class or name in INTERNAL


def constants(node: ast.expr | None) -> tuple[str, ...]:
    """The text of a name that another module defines."""
    if not isinstance(node, ast.Name):
        return ()
    return tuple(
        text for module in MODULES for text in module.texts(node, module.tree) if node.id.isupper()
    )


MODULES = [Module(path) for path in sorted(SOURCE.rglob("*.py"))]


def made_errors() -> list[Made]:
    """Return the errors whose texts are the library's own."""
    return [
        made
        for module in MODULES
        for made in dict.fromkeys(module.made())
        if made.kind not in INTERNAL and (made.place, made.code) not in FOREIGN | PASSED_ON
    ]


def test_texts_are_found() -> None:
    found = made_errors()
    assert len(found) > 40
    assert {"SettingsError", "ServiceError", "PayloadError", "RefusedError"} <= {
        made.kind for made in found
    }
    everything = {(made.place, made.code) for module in MODULES for made in module.made()}
    assert everything >= FOREIGN | PASSED_ON


def test_text_of_error_says_rule_and_value() -> None:
    for made in made_errors():
        assert made.texts, f"{made.place}: {made.code}: the text is not found"
        exempt = any(
            place == made.place and made.code.startswith(code) for place, code in WITHOUT_VALUE
        )
        for text in made.texts:
            assert RULE.search(text), f"{made.place}: {text}"
            assert exempt or VALUE.search(text), f"{made.place}: {text}"
