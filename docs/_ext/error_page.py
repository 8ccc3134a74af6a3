"""The page of error messages, made from the source: every ``raise InputError(...)`` of the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[2] / "nwa_lightning"
PAGE = "errors.md"


class Message(NamedTuple):
    """A message in three parts; what a run fills in stands in braces."""

    problem: str
    remedy: str
    where: str


def messages() -> list[Message]:
    """Every message of the package, by module."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        where = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for text in _raised(ast.parse(path.read_text())):
            problem, _, remedy = text.partition("; ")
            found.append(Message(problem, remedy, where))
    return sorted(set(found), key=lambda message: (message.where, message.problem))


def _raised(tree: ast.AST) -> Iterator[str]:
    """Texts of ``raise InputError(text)``, as far as they are written where they are raised."""
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else None
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id == "InputError"
            and call.args
        ):
            text = _text(call.args[0])
            if "expected" in text:
                yield text


def _text(node: ast.expr) -> str:
    """A string or an f-string; each of its values as its expression's last name, in braces."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        names = re.findall(r"[A-Za-z_]+", ast.unparse(node.value))
        return f"{{{names[-1] if names else '...'}}}"
    return ""


def write_page(folder: Path) -> None:
    """Write the page."""
    lines = [
        "# Errors",
        "",
        "An error that you can mend is one line: what was expected, what was found, how to mend it. The command line prints it",
        "and ends with status 2; in Python it is an `InputError`, a `ValueError`. Words in braces are filled in by the run.",
    ]
    room = None
    for message in messages():
        if message.where != room:
            room = message.where
            lines += ["", f"## {room}", "", "| message | remedy |", "| --- | --- |"]
        cells = [part.replace("|", "\\|").replace("`", "'") for part in (message.problem, message.remedy)]
        lines.append("| " + " | ".join(f"`{cell}`" if cell else "" for cell in cells) + " |")
    text = "\n".join(lines) + "\n"
    page = folder / PAGE
    if not page.exists() or page.read_text() != text:  # an unchanged page is not read again
        page.write_text(text)


def setup(app: Any) -> dict[str, Any]:
    """Write the page before Sphinx looks for pages."""
    app.connect("builder-inited", lambda app: write_page(Path(app.srcdir)))
    return {"parallel_read_safe": True}
