"""The structure of the package: imports go one way, modules are short, what is public is documented."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import nwa_lightning

ROOT = Path(nwa_lightning.__file__).parent
MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages([str(ROOT)], "nwa_lightning.")
    if not name.endswith(("._nw", ".__main__"))
)

#: Rooms in the order in which they may import one another: each only those before it.
ROOMS = [
    ["errors", "_nw"],
    ["_kernels", "_checks", "parts"],
    ["levenshtein"],
    ["alignment", "progress"],
    ["sequences"],
    ["scoring"],
    ["landmarks"],
    ["data"],
    ["optim"],
    ["encoders"],
    ["nwa"],
    ["models", "plots"],
    ["search"],
    ["callbacks"],
    ["cli"],
]


def path_of(module):
    path = ROOT.parent / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports_of(module):
    """Modules of the package that a module imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path_of(module).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name in MODULES and name != module}


def room(module):
    return module.split(".")[1]


def test_there_is_no_circle():
    graph = {module: imports_of(module) for module in MODULES}
    done, open_ = set(), []

    def visit(module):
        assert module not in open_, f"circle: {' -> '.join([*open_[open_.index(module) :], module])}"
        if module not in done:
            open_.append(module)
            for other in graph[module]:
                visit(other)
            done.add(open_.pop())

    for module in MODULES:
        visit(module)
    assert sum(map(len, graph.values())) > 100  # the walk sees imports


def test_a_room_imports_only_from_rooms_above_it():
    place = {name: number for number, names in enumerate(ROOMS) for name in names}
    assert {room(module) for module in MODULES} <= set(place)
    for module in MODULES:
        for other in imports_of(module):
            above = place[room(other)] < place[room(module)] or room(other) == room(module)
            assert above, f"{module} imports {other}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short_and_documented(module):
    assert len(path_of(module).read_text().splitlines()) <= 300
    found = importlib.import_module(module)
    assert found.__doc__
    for name, value in vars(found).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, f"{module}.{name}"
        if inspect.isclass(value):
            for method, function in vars(value).items():
                if inspect.isfunction(function) or isinstance(function, (property, classmethod, staticmethod)):
                    assert method.startswith("_") or function.__doc__, f"{name}.{method}"


def test_public_names_are_documented():
    for name in nwa_lightning.__all__:
        value = getattr(nwa_lightning, name)
        assert isinstance(value, str) or (value.__doc__ and not value.__doc__.startswith("str("))
