"""The pages: links lead somewhere, the API is complete, docstring examples run, and developer pages do what they say."""

import doctest
import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nwa_lightning
from nwa_lightning.sequences.catalog import BUILT_IN

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = Path(nwa_lightning.__file__).parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
#: Pages that the build makes.
MADE = DOCS / "errors.md"


def examples():
    """Modules with an example in a docstring."""
    return sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
        target = (page.parent / link).resolve()
        assert target == MADE or target.exists(), link


def test_every_public_name_is_in_the_reference():
    text = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    named = set(re.findall(r":: (\w+)$", text, re.MULTILINE))
    assert set(nwa_lightning.__all__) - {"__version__"} == {name for name in named if hasattr(nwa_lightning, name)}


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.stem)
def test_docstring_examples(path):
    module = importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
    known = {"torch": torch, **{name: getattr(nwa_lightning, name) for name in nwa_lightning.__all__}}
    outcome = doctest.testmod(module, extraglobs=known)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_the_page_of_errors_has_the_messages(tmp_path):
    spec = importlib.util.spec_from_file_location("error_page", DOCS / "_ext" / "error_page.py")
    error_page = importlib.util.module_from_spec(spec)
    sys.modules["error_page"] = error_page  # where a NamedTuple looks for its module
    spec.loader.exec_module(error_page)
    error_page.write_page(tmp_path)
    text = (tmp_path / "errors.md").read_text()
    assert "| `radius: expected a number between 0 and 1, found {radius}` | `give one such as {RADIUS}` |" in text
    assert text.count("\n| `") == len(error_page.messages()) > 100


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "developers" / page).read_text(), re.DOTALL)


def run(page, folder):
    """Run the commands of a page in a folder, which is also where Python looks first."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    for command in "".join(blocks(page, "bash")).splitlines():
        program, *words = shlex.split(command, comments=True)
        assert program == "nwa"
        done = subprocess.run(
            [sys.executable, "-m", "nwa_lightning", *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        yield command


@pytest.mark.parametrize("page", ["add_an_encoder.md", "add_a_distance.md", "add_a_loss.md"])
def test_adding_a_part_takes_one_file(page, tmp_path):
    (code,) = blocks(page, "python")
    (tmp_path / code.split()[1]).write_text(code)
    assert len(list(run(page, tmp_path))) >= 2


def test_adding_a_data_set_takes_two_files(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "nwa_lightning", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    (code,) = blocks("add_a_data_set.md", "python")
    path, line = code.splitlines()
    catalog = tmp_path / path.removeprefix("# ")
    text, count = re.subn(r"^BUILT_IN: .*$", line, catalog.read_text(), flags=re.MULTILINE)
    assert count == 1
    catalog.write_text(text)
    builtin = tmp_path / "nwa_lightning" / "sequences" / "builtin"
    shutil.copy(builtin / BUILT_IN["human16s"], builtin / "mine.txt.gz")
    assert list(run("add_a_data_set.md", tmp_path))
