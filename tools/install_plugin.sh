#!/usr/bin/env bash
# Link the plugin of this checkout into QGIS's default profile and enable it.
set -euo pipefail
cd "$(dirname "$0")/.."
plugins="${XDG_DATA_HOME:-$HOME/.local/share}/QGIS/QGIS3/profiles/default/python/plugins"
mkdir -p "$plugins"
ln -sfn "$PWD/skysense_qgis" "$plugins/skysense_qgis"
QT_QPA_PLATFORM=offscreen qgis_process plugins enable skysense_qgis >/dev/null
echo "SkySense is in QGIS's default profile: start QGIS and open Raster > SkySense."
