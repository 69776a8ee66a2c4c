"""Checks of the plugin's source that ruff does not make. Standard library only; part of `make lint`.

QGIS 3.22 to 4 run it: the grammar is that of Python 3.9; Qt comes through `qgis.PyQt` (PyQt5 or PyQt6) only; nothing
is imported that QGIS does not ship; no Qt resource modules.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GRAMMAR = (3, 9)
#: What QGIS ships on every platform.
SHIPPED = {"qgis", "osgeo", "processing"}


def main() -> int:
    """Print every problem; 1 if there is one."""
    problems = [problem for path in sorted((ROOT / "skysense_qgis").rglob("*.py")) for problem in check(path)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return bool(problems)


def check(path: Path) -> Iterator[str]:
    """The problems of one file, each with its place."""
    where = path.relative_to(ROOT)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(where), feature_version=GRAMMAR)
    except SyntaxError as error:
        yield f"{where}:{error.lineno}: not in the grammar of Python {GRAMMAR[0]}.{GRAMMAR[1]} ({error.msg})"
        return
    for node in ast.walk(tree):
        for name in imported(node):
            top = name.split(".")[0]
            if top not in SHIPPED and top not in sys.stdlib_module_names:
                hint = "import Qt from qgis.PyQt" if top.startswith("PyQt") else "QGIS does not ship it"
                yield f"{where}:{node.lineno}: imports {name}: {hint}"
    lazy = any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and node.names[0].name == "annotations"
        for node in tree.body
    )
    for node in [] if lazy else ast.walk(tree):
        # `X | None` is evaluated in an annotation unless annotations are lazy, and fails below Python 3.10.
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if annotation is not None and any(isinstance(part, ast.BitOr) for part in ast.walk(annotation)):
            yield f'{where}:{node.lineno}: "|" in an annotation needs `from __future__ import annotations`'


def imported(node: ast.AST) -> list[str]:
    """Modules that a statement imports absolutely."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module]
    return []


if __name__ == "__main__":
    sys.exit(main())
