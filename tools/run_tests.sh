#!/usr/bin/env bash
# Every test, in three parts: the backend alone, the plugin in QGIS's Python, the whole in a real QGIS window.
# All parts run even if one fails; the exit status tells whether all passed.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()

part() {
    local name=$1
    shift
    echo "== $name"
    "$@" || failed+=("$name")
}

# No user site packages and no foreign environment: what is tested is what a user has.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PYTHONNOUSERSITE=1

part "backend" .venv/bin/python -m pytest tests/backend -q
part "plugin in QGIS" env QT_QPA_PLATFORM=offscreen /usr/bin/python3 -m pytest tests/qgis -q
part "whole, in a QGIS window" .venv/bin/python -m pytest tests/e2e -q

if ((${#failed[@]})); then
    printf 'Failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "All tests passed."
