"""`python -m benchmarks`: finds what is there, says what it asks, and runs each in a process of its own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import ORDER, find_benchmarks

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "benchmarks").rglob("*.py"))


def test_every_benchmark_says_what_it_answers() -> None:
    found = find_benchmarks(ROOT / "benchmarks")
    assert tuple(found)[: len(ORDER)] == ORDER
    assert all(one.question for one in found.values())
    assert not any(found[name].by_name_only for name in ORDER)
    assert {"stages", "regret", "engines"} <= {one.name for one in found.values() if one.by_name_only}


def test_a_new_folder_is_found_by_its_main(tmp_path: Path) -> None:
    for name, text in {
        "late": '"""Is it found?\n\nMore."""\n',
        "early": '"""And this?"""\nBY_NAME_ONLY = "hours"\n',
        "store": '"""Known."""\n',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.py").write_text(text)
    (tmp_path / "results-only").mkdir()
    found = find_benchmarks(tmp_path)
    assert [(one.name, one.question, one.by_name_only) for one in found.values()] == [
        ("store", "Known.", ""),
        ("early", "And this?", "hours"),
        ("late", "Is it found?", ""),
    ]


def test_the_named_run_with_the_flags_and_failures_are_counted(tmp_path: Path) -> None:
    """A copy of the package with benchmarks of its own, from a folder that is not the repository."""
    package = tmp_path / "benchmarks"
    for name, code in {"good": "import sys; print('good', sys.argv[1:])", "bad": "raise SystemExit(1)"}.items():
        (package / name).mkdir(parents=True)
        (package / name / "main.py").write_text(f'"""{name}?"""\n{code}\n')
    for name in ("__init__.py", "__main__.py"):
        (package / name).write_text((ROOT / "benchmarks" / name).read_text())

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks", *words]
        away = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, env=away, cwd=tmp_path, capture_output=True, text=True, check=False)

    both = run("good", "bad", "good", "--only=x")
    assert (both.returncode, both.stdout) == (1, "good ['--only=x']\n" * 2)
    unknown = run("best")
    assert unknown.returncode == 2 and "unknown best; there are bad, good" in unknown.stderr
    assert run("--list").stdout.splitlines() == ["bad            bad?", "good           good?"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_module_imports_from_its_neighbours_is_there(path: Path) -> None:
    """Modules are imported in other environments and hours into a run, where a wrong name is found late."""
    lines = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    for line in lines:
        if line.module is None or line.module.partition(".")[0] != "benchmarks":
            continue
        source = ROOT / line.module.replace(".", "/")
        module = source.with_suffix(".py")
        names = _defined(module) if module.exists() else {file.stem for file in source.glob("*.py")}
        assert {alias.name for alias in line.names} <= names, ast.unparse(line)


def _defined(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign(targets=targets):
                names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Import() | ast.ImportFrom():
                names |= {alias.asname or alias.name for alias in node.names}
            case _:
                pass
    return names
