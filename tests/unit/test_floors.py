"""The shape of the house, held by a walk over the source: floors, cycles, printing, dangerous calls, sizes."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "pretune"
FLOORS = {
    **dict.fromkeys(
        (
            "types",
            "answers",
            "errors",
            "options",
            "config",
            "notices",
            "schema",
            "records",
            "hub",
            "files",
            "locks",
            "sums",
            "cache",
            "trial",
            "machine",
            "runfolder",
            "newrun",
            "wording",
            "forwarded",
            "listeners",
        ),
        0,
    ),
    "modalities": 1,
    **dict.fromkeys(("data", "backbones", "engine", "trackers"), 2),
    "metrics": 3,
    "tasks": 4,
    "objectives": 5,
    **dict.fromkeys(("evaluation", "explain", "compress", "export"), 6),
    **dict.fromkeys(("report", "serve"), 7),
    "interface": 8,
    "runs": 9,
    "training": 10,
    "verbs": 11,
    **dict.fromkeys(("study", "estimators"), 12),
    **dict.fromkeys(("cli", "stubs", "catalogue"), 13),
    **dict.fromkeys(("__init__", "__main__"), 14),
}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 600, 70
MAX_FOLDER_FILES, MAX_SHARED_PREFIX = 18, 2
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "requests",
    "urllib.request",
}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {"torch.load", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen"}
FORBIDDEN_METHODS = {"extractall"}


def modules(root: Path) -> dict[str, ast.Module]:
    """Dotted name below the package to syntax tree; a folder's ``__init__`` has the folder's name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return found


def imports(name: str, tree: ast.Module, names: set[str], *, typing_too: bool) -> Iterator[str]:
    """Modules of the package that ``name`` imports, wherever in the file."""
    skipped = set() if typing_too else {id(node) for block in typing_blocks(tree) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("pretune.") for alias in node.names if alias.name.startswith("pretune.")
            )
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} line {node.lineno}: imports are written in full"
            yield from from_import(node, names)


def from_import(node: ast.ImportFrom, names: set[str]) -> Iterator[str]:
    if not (node.module or "").startswith("pretune"):
        return
    base = (node.module or "").removeprefix("pretune").removeprefix(".")
    for alias in node.names:
        whole = f"{base}.{alias.name}".removeprefix(".")
        if whole in names:
            yield whole
        elif base or alias.name != "__version__":
            yield base or "__init__"


def typing_blocks(tree: ast.Module) -> Iterator[ast.If]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield node


def room(name: str) -> str:
    return name.split(".")[0]


def wrong_directions(trees: dict[str, ast.Module]) -> list[str]:
    """Imports that climb, cross to another room of the same floor, or come from a room that has no floor."""
    wrong = []
    for name, tree in trees.items():
        here = room(name)
        if here not in FLOORS:
            wrong.append(f"{name} stands on no floor")
            continue
        for other in imports(name, tree, set(trees), typing_too=True):
            there = room(other)
            both_ground = FLOORS[here] == FLOORS.get(there) == 0
            if there != here and not both_ground and FLOORS.get(there, 99) >= FLOORS[here]:
                wrong.append(f"{name} imports {other}")
    return wrong


def cycles(trees: dict[str, ast.Module]) -> list[str]:
    """Modules that import each other in a ring (a package's ``__init__`` that gathers its own files is one module of it)."""
    edges = {
        name: set(imports(name, tree, set(trees), typing_too=False)) & set(trees) - {name}
        for name, tree in trees.items()
    }
    found, done = [], set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for other in sorted(edges[name]):
                visit(other, [*path, name])
            done.add(name)

    for name in trees:
        visit(name, [])
    return found


def prints(trees: dict[str, ast.Module]) -> list[str]:
    """Where something is printed outside the command line; what is copied beside an exported model is a program of its own."""
    return [
        f"{name} line {node.lineno}"
        for name, tree in trees.items()
        if name != "cli" and not name.startswith("export.standalone.")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    ]


def dangers(trees: dict[str, ast.Module]) -> list[str]:
    """What could run somebody's code out of a file: never needed here."""
    return [
        f"{name} line {line}: {what}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        for line, what in danger(node)
    ]


def danger(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import):
        yield from ((node.lineno, alias.name) for alias in node.names if alias.name in FORBIDDEN_MODULES)
    elif isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN_MODULES:
        yield node.lineno, node.module or ""
    elif isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN_ATTRIBUTES:
        yield node.lineno, ast.unparse(node)
    elif isinstance(node, ast.Call):
        called = node.func
        if isinstance(called, ast.Name) and called.id in FORBIDDEN_NAMES:
            yield node.lineno, called.id
        if isinstance(called, ast.Attribute) and called.attr in FORBIDDEN_METHODS:
            yield node.lineno, called.attr
        for keyword in node.keywords:
            if keyword.arg in ("shell", "allow_pickle") and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                yield node.lineno, f"{keyword.arg}="
            if keyword.arg == "weights_only" and ast.unparse(keyword.value) != "True":
                yield node.lineno, "weights_only="


def too_long(root: Path) -> list[str]:
    """Files and functions over the guide figures (300 and 60 lines) plus a margin."""
    found = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.count("\n")
        if lines > MAX_FILE_LINES:
            found.append(f"{path.relative_to(root)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    found.append(f"{path.relative_to(root)}: {node.name} has {length} lines")
    return found


def crowded(root: Path) -> list[str]:
    """Folders below the top with too many files, and files of one folder that share a first word and belong in a package."""
    found = []
    for folder in sorted(path for path in root.rglob("*") if path.is_dir()):
        names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
        if len(names) > MAX_FOLDER_FILES:
            found.append(f"{folder.relative_to(root)}: {len(names)} files")
        words = Counter(name.split("_")[0] for name in names)
        found += [f"{folder.relative_to(root)}: {count} files begin with {word}" for word, count in words.items() if count > MAX_SHARED_PREFIX]  # fmt: skip
    return found


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    found = modules(SOURCE)
    assert {"types", "cli", "verbs"} <= set(found)
    return found


def test_imports_go_down(trees: dict[str, ast.Module]):
    assert wrong_directions(trees) == []


def test_no_cycles(trees: dict[str, ast.Module]):
    assert cycles(trees) == []


def test_only_the_command_line_prints(trees: dict[str, ast.Module]):
    assert prints(trees) == []


def test_nothing_runs_code_out_of_files(trees: dict[str, ast.Module]):
    assert dangers(trees) == []


def test_sizes():
    assert too_long(SOURCE) == []
    assert crowded(SOURCE) == []


PLANTED = {
    "types.py": "",
    "__init__.py": "__version__ = '1'",
    "data/__init__.py": "",
    "data/read.py": "import pretune.types\nfrom pretune.engine.fit import go\nfrom pretune import __version__",
    "data/a.py": "from pretune.data import b",
    "data/b.py": "def f():\n    from pretune.data.a import g\n    print(g)",
    "data/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pretune.data.d import D",
    "data/d.py": "from pretune.data.c import C",
    "engine/fit.py": "from pretune.tasks import base\nimport pretune.cli",
    "tasks/base.py": "from pretune.engine import fit",
    "cellar/x.py": "",
    "cli.py": "import pickle\nprint(1)\nx = torch.load('w')\neval('1')\nz.extractall('.')\nrun('x', shell=True)\nnp.load('a', allow_pickle=True)",
    "verbs/long.py": "def f():\n" + "    x = 1\n" * MAX_FILE_LINES,
}


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    for name, text in PLANTED.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_walk_finds_what_is_planted(planted: Path):
    found = modules(planted)
    assert sorted(wrong_directions(found)) == [
        "cellar.x stands on no floor",
        "data.read imports engine.fit",
        "engine.fit imports cli",
        "engine.fit imports tasks.base",
    ]
    assert cycles(found) == ["data.a -> data.b -> data.a", "engine.fit -> tasks.base -> engine.fit"]
    assert prints(found) == ["data.b line 3"]
    whats = sorted(line.split(": ")[1] for line in dangers(found))
    assert whats == ["allow_pickle=", "eval", "extractall", "pickle", "shell=", "torch.load"]
    for name in ("wide", "wide_a", "wide_b", *(f"file{number}" for number in range(MAX_FOLDER_FILES))):
        (planted / "verbs" / f"{name}.py").touch()
    assert crowded(planted) == ["verbs: 22 files", "verbs: 3 files begin with wide"]
    assert too_long(planted) == [
        f"verbs/long.py: {MAX_FILE_LINES + 1} lines",
        f"verbs/long.py: f has {MAX_FILE_LINES + 1} lines",
    ]
