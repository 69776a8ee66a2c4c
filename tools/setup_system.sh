#!/usr/bin/env bash
# Installs the system packages that a Makefile target needs, where they are missing. Asks no questions.
#   tools/setup_system.sh python     to make the backend's environment
#   tools/setup_system.sh desktop    also QGIS, an X server without a screen, and what takes its picture
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/setup_common.sh

wanted=(python3 python3-venv git)
programs=(python3 git)
# Its own Python is 3.10, and the backend needs 3.11.
if grep -qs 'VERSION_ID="22.04"' /etc/os-release; then wanted+=(python3.11 python3.11-venv); fi
if [[ ${1:?python or desktop} == desktop ]]; then
    # fonts-dejavu-core: without recommended packages a bare machine has no font at all.
    wanted+=(qgis python3-qgis python3-pytest xvfb xauth imagemagick fonts-dejavu-core)
    programs+=(qgis qgis_process Xvfb xvfb-run import)
fi

if ! command -v apt-get >/dev/null; then
    for program in "${programs[@]}"; do
        command -v "$program" >/dev/null && continue
        echo "This is no Debian or Ubuntu, so please install these yourself: ${programs[*]}" >&2
        exit 1
    done
    exit 0
fi

missing=()
for package in "${wanted[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then exit 0; fi

as_root=()
if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
        echo "Please install as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
apt() {
    # The lock wait is for a machine that is just booting and updates itself.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null >>"$setup_log" 2>&1
}
echo "Installing ${missing[*]} ..." >&2
started=$SECONDS
# A package source that cannot be reached does not matter if the packages can be had all the same.
apt update || echo "The package lists could not all be updated; see $setup_log" >&2
if ! apt install -y --no-install-recommends "${missing[@]}"; then
    tail -n 15 "$setup_log" >&2
    echo "Could not install ${missing[*]}; all of the output is in $setup_log" >&2
    exit 1
fi
record_setup $((SECONDS - started)) "system packages"
