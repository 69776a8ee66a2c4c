#!/usr/bin/env bash
# QGIS with its Python, a virtual screen, pictures of it, and pytest for QGIS's Python.
set -euo pipefail
source "$(dirname "$0")/as_root.sh"
missing=()
command -v qgis >/dev/null || missing+=(qgis)
command -v qgis_process >/dev/null || missing+=(qgis)
/usr/bin/python3 -c "import qgis.core" 2>/dev/null || missing+=(python3-qgis)
/usr/bin/python3 -c "import pytest" 2>/dev/null || missing+=(python3-pytest)
/usr/bin/python3 -c "from PyQt5 import QtTest" 2>/dev/null || missing+=(python3-pyqt5)
command -v Xvfb >/dev/null || missing+=(xvfb)
command -v xauth >/dev/null || missing+=(xauth)
command -v import >/dev/null || missing+=(imagemagick)
if [ ${#missing[@]} -gt 0 ]; then
  echo "Installing ${missing[*]} ..." >&2
  apt_install "${missing[@]}"
fi
