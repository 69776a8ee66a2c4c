"""Rules for the code that runs inside QGIS: Python 3.9 grammar, Qt through qgis.PyQt only, nothing of the backend."""

import ast
import sys
from pathlib import Path

FORBIDDEN = ("PyQt5", "PyQt6", "PySide2", "PySide6", "torch", "rasterio", "numpy", "skysense", "multiprocessing")


def faults(path: Path) -> list[str]:
    """What breaks the rules in one file."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 9))
    except SyntaxError as error:
        return [f"{path}:{error.lineno}: not Python 3.9: {error.msg}"]
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        found += [
            f"{path}:{node.lineno}: imports {name}"
            for name in names
            if name.split(".")[0] in FORBIDDEN
        ]
        if isinstance(node, ast.Attribute) and node.attr == "exec_":
            found.append(f"{path}:{node.lineno}: exec_() is gone in Qt 6; use exec()")
    return found


def main() -> int:
    root = Path(__file__).resolve().parents[1] / "skysense_qgis"
    files = sorted(p for p in root.rglob("*.py") if not p.is_symlink())
    problems = [fault for path in files for fault in faults(path)]
    print("\n".join(problems) or f"{len(files)} plugin files keep the rules")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
