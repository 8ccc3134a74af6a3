"""Turn long messages of the parser or of Lightning into one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Final

#: The most letters of a message; longer ones are cut.
_MOST: Final = 400

#: Patterns in the long messages of jsonargparse, and our messages for them; the first pattern that fits counts.
_REASONS: Final = (
    (r"Option '(?P<option>[^']*)' is not accepted", ""),
    (r"[Uu]nrecognized arguments: (?P<unknown>.*)", ""),
    (
        r"the following arguments are required: (?P<missing>.*)",
        "expected {missing}, found nothing; give {missing_options}",
    ),
    (
        r"Expected a typing\.Literal\[(?P<known>[^]]*)\]\. Got value: (?P<found>.*)",
        "expected one of {known}, found {found}",
    ),
    (r"Expected a <class '(?P<kind>[^']*)'>\. Got value: (?P<found>.*)", "expected {kind}, found {found}"),
    (r"argument (?P<option>-\S+): expected one argument", "expected a value, found nothing"),
    (r"File does not exist: '?(?P<file>[^']*)'?", "expected a file, found none at {file}"),
    (r"Unable to load config '?\"?(?P<file>[^'\"\n]*)", "expected a YAML file, found {file}, which is none"),
    (r"Unexpected config: (?P<line>[^\n]{1,40})", "--config: expected a YAML file of settings, found {line} ..."),
    (r"No module named '(?P<module>[^']*)'", "expected a class that can be imported, found no module {module}"),
    (r"Expected a dot import path string: (?P<found>.*)", "expected the name of a class, found {found}"),
    (r"(?:Given value|Got value): (?!Namespace|NestedArg|\{)(?P<found>.*)", "expected {kinds}, found {found}"),
)


def squeezed(message: object) -> str:
    """A message as one line of limited length."""
    line = " ".join(str(message).split())
    return line if len(line) <= _MOST else f"{line[: _MOST - 4]} ..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remark that names the nearest known word, or nothing.

    Args:
        word: The word that was found.
        known: The words that could have been meant.
    """
    near = get_close_matches(word, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""


def parser_message(message: str, options_of: Callable[[str], Iterable[str]], help_command: str) -> str:
    """The error of a parser in one line: the option, what was expected, what was found, where to look.

    Args:
        message: Message of jsonargparse, over many lines.
        options_of: Returns the names of the options below a key, such as those of ``model``, for a suggestion.
        help_command: The command that lists the options.
    """
    key = _key(message)
    for pattern, text in _REASONS:
        # The last one is the innermost.
        found = list(re.finditer(pattern, message))
        if not found:
            continue
        parts = {name: value.strip() for name, value in found[-1].groupdict().items() if value is not None}
        if "unknown" in parts:
            word = parts["unknown"].split()[0]
            name = word.split("=")[0].lstrip("-")
            return f"{word}: expected an option, found an unknown one{_near(name, options_of)}; see {help_command}"
        if "option" in parts and not text:
            option = f"{key}.{parts['option']}"
            return (
                f"--{option}: expected an option, found an unknown one{_near(option, options_of)}; see {help_command}"
            )
        if "missing" in parts:
            parts["missing_options"] = ", ".join(f"--{key}.{name}=..." for name in parts["missing"].split(", "))
        parts["kinds"] = _kinds(message)
        where = parts.get("option", f"--{key}" if key else "")
        return squeezed(f"{where}: {text.format(**parts)}; see {help_command}".removeprefix(": "))
    return f"{squeezed(message)}; see {help_command}"


def _key(message: str) -> str:
    """Dotted name of the option, put together from the keys of nested parsers."""
    keys: list[str] = []
    for key in re.findall(r'Parser key "([^"]*)"', message):
        if not keys or key not in (keys[-1], ".".join(keys)):
            keys.append(key)
    return ".".join(keys)


def _kinds(message: str) -> str:
    """The types that the innermost union allows, in plain words."""
    kinds = re.findall(r"- Expected a (?:<class '([^']*)'>|typing\.Literal\[([^]]*)\])", message)
    words = [(kind.rpartition(".")[2] or literal).replace("NoneType", "null") for kind, literal in kinds]
    return " or ".join(dict.fromkeys(words)) or "another value"


def _near(option: str, options_of: Callable[[str], Iterable[str]]) -> str:
    room, _, name = option.rpartition(".")
    if not room:
        for below in ("model", "data", "trainer"):  # people most often leave out the part before the dot
            if name in options_of(below):
                return f", did you mean --{below}.{name}?"
    # A name that is known there belongs to another class than the one that is asked for.
    near = did_you_mean(name, set(options_of(room)) - {name})
    return near.replace("mean ", f"mean --{room}." if room else "mean --") if near else ""
