#!/usr/bin/env bash
# Makes or updates the backend's environment, .venv, from backend/pyproject.toml and backend/constraints.txt.
# Quick when both are as they were the last time.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/setup_common.sh

usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

digest=$(cat backend/pyproject.toml backend/constraints.txt | sha256sum | cut -c1-16)
# The folder's own path is in there too: an environment does not survive being moved.
stamp=.venv/skysense-$digest-$(pwd -P | sha256sum | cut -c1-8)
if [[ -e $stamp ]] && usable .venv/bin/python; then exit 0; fi

started=$SECONDS
run() {
    "$@" </dev/null >>"$setup_log" 2>&1 || {
        tail -n 15 "$setup_log" >&2
        echo "Failed: $*; all of its output is in $setup_log" >&2
        exit 1
    }
}
if ! usable .venv/bin/python; then
    for python in python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11; do
        if usable "$python"; then break; fi
        python=
    done
    if [[ -z $python ]]; then
        echo "Python 3.11 or newer with its venv module is needed; none was found." >&2
        exit 1
    fi
    echo "Making .venv with $("$python" --version) ..." >&2
    run "$python" -m venv --clear .venv
fi
echo "Installing the backend's packages into .venv (the first time this downloads PyTorch) ..." >&2
# PyTorch first: it is by far the largest, and a failure to get it should show at once.
run .venv/bin/python -m pip install -q --disable-pip-version-check -c backend/constraints.txt torch
run .venv/bin/python -m pip install -q --disable-pip-version-check -c backend/constraints.txt -e 'backend[cluster,dev]'
run .venv/bin/python -m pip check
rm -f .venv/skysense-*
touch "$stamp"
record_setup $((SECONDS - started)) "backend environment"
