"""Laws 4, 5 and 9: imports point down, checking stays light, and the code keeps its shape."""

import ast
import functools
import re
import runpy
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "finetune"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "unsloth", "bitsandbytes", "accelerate", "pyarrow")
# A file may import its own layer and those below.
LAYERS = (
    ("errors", "codes", "pace", "pieces"),
    ("ranks",),
    ("plan", "machine", "recipe", "reporting", "compare"),
    (
        "precision",
        "formats",
        "rendering",
        "data",
        "adapters",
        "methods",
        "kernels",
        "backends",
        "rundir",
        "tracking",
        "trackers",
        "screen",
        "stopping",
        "workers",
        "noise",
        "checkpoints",
        "progress",
        "mending",
        "aftermath",
        "alarm",
        "continuing",
        "blockers",
        "derived",
        "templates_planned",
        "exports_planned",
        "grouping",
        "jobs",
        "launching",
        "ready",
        "rows_known",
        "several",
    ),
    ("trainers", "scoring", "promises", "beforehand"),
    (
        "generation",
        "answering",
        "watch",
        "keeper",
        "going",
        "evaluation",
        "preview",
        "old_spellings_schema",
        "schema",
        "starting",
        "importing",
    ),
    ("readable",),
    ("resolve", "stages", "memory", "tried"),
    ("outcome", "advice", "advice_modules", "advice_values", "report", "together", "told", "saving", "locking"),
    ("judge", "runner", "previewing", "sweeping", "reproducing"),
    ("effects",),
    ("explain", "keys", "forms_page", "gallery", "exporting"),
    ("gallery_page",),
    ("trained", "measured_rows"),
    ("chat", "chat_orders", "doctor", "differ", "answer_file", "evaluating", "serving", "proving"),
    ("commands",),
    ("cli",),
    ("__main__", "__init__"),
)
SUBCLASSES = ("first.py", "watch.py", "keeper.py", "measuring.py", "courses.py", "muon.py", "witness.py")
"""Files of a class that is a library's kind of callback or optimizer, and so needs the library to be written."""
LINES_OF_A_FILE = 300
LINES_OF_A_FUNCTION = 40
ARGUMENTS = 5
MUTUAL = (
    {f"finetune.importing.{name}" for name in ("calling", "folding", "walking")},  # calls hold expressions hold calls
    {"finetune.chat", "finetune.chat_orders"},  # an order names the type of the conversation that it changes
)
"""Files that may name each other."""


def layer_of(module: str) -> int:
    """Of `finetune.recipe.load` or a path's parts."""
    name = module.split(".")[1] if "." in module else "__init__"
    return next(number for number, names in enumerate(LAYERS) if name in names)


def _is_file(module: str) -> bool:
    """Whether it is one of ours, and no name that a file holds."""
    place = ROOT.joinpath(*module.split("."))
    return place.with_suffix(".py").is_file() or place.is_dir()


@functools.cache
def imported(path: Path) -> list[tuple[str, bool]]:
    """(module, whether at the top of the file) for every import of the package."""
    tree = ast.parse(path.read_text())
    top = set(tree.body)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute, so that this law can read them"
            names = [
                each if node.module == "finetune" or _is_file(each) else node.module
                for each in (f"{node.module}.{alias.name}" for alias in node.names)
            ]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found += [(name, node in top) for name in names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    own = layer_of(".".join(parts))
    for module, _ in imported(path):
        if module.startswith("finetune.") and not module.startswith("finetune.__version__"):
            assert layer_of(module) <= own, f"{path.name} imports {module}, which lies above it"


def test_files_import_each_other_in_no_circle() -> None:
    graph = {}
    for path in FILES:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        allowed = next((files for files in MUTUAL if name in files), set())
        graph[name] = {module for module, _ in imported(path)} - allowed
    TopologicalSorter(graph).prepare()  # CycleError names the files


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_are_imported_inside_functions(path: Path) -> None:
    if path.name in SUBCLASSES or path.parent.name in ("kernels", "trainers"):
        return  # subclasses of the libraries' own; only the stages import them, or a Plan that is carried out
    heavy = [module for module, top in imported(path) if top and module.split(".")[0] in HEAVY]
    assert heavy == []


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_checking_a_recipe_imports_no_heavy_library(command: str) -> None:
    code = (
        "import sys; from finetune.cli import main; "
        f"code = main([{command!r}, 'recipes/phi35_samantha.yaml']); "
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_has_one_subject_and_its_functions_fit_a_screen(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module opens by saying what it decides and what it refuses to know"
    assert len(text.splitlines()) <= LINES_OF_A_FILE
    for function in functions(tree):
        assert function.end_lineno is not None
        lines = function.end_lineno - function.lineno + 1
        assert lines <= LINES_OF_A_FUNCTION, f"{function.name} has {lines} lines"
        arguments = [name.arg for name in (*function.args.args, *function.args.kwonlyargs)]
        count = len([name for name in arguments if name not in ("self", "cls")])
        assert count <= ARGUMENTS, f"{function.name} takes {count} arguments"


TOP = re.compile(r"^(?:(?:async )?def |class )?([A-Za-z_]\w*)(?:\(|\[|:| = )", re.M)
"""The name of a function, class or constant at the top of a file."""
BY_HAND = {"drop_duplicates"}
"""What says in plain Python what the program does with arrays, for tests that hold the one against the other."""


def test_what_nothing_names_is_deleted() -> None:
    """A test alone is no reason to keep it."""
    code = [*FILES, *(ROOT / "scripts").glob("*.py"), *(ROOT / "bench").rglob("*.py")]
    words = Counter(word for path in code for word in re.findall(r"\w+", path.read_text()))
    defined = {name: path.name for path in FILES for name in TOP.findall(path.read_text())}
    assert {name: file for name, file in defined.items() if words[name] < 2 and name not in BY_HAND} == {}


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    assert not [path for path in FILES if path.stem in ("utils", "helpers", "common", "misc")]


def test_each_fault_that_is_put_in_on_purpose_has_its_place() -> None:
    faults = runpy.run_path(str(ROOT / "scripts" / "break_on_purpose.py"))["FAULTS"]
    lost = [fault.name for fault in faults if (ROOT / fault.file).read_text().count(fault.old) != 1]
    assert not lost, f"scripts/break_on_purpose.py changes lines that are gone: {lost}"
    assert all((ROOT / "tests" / f"{fault.tests}.py").is_file() for fault in faults)
