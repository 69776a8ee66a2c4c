"""`make install`: link the plugin into this user's QGIS profile and enable it. Run by QGIS's own Python."""

import configparser
import os
import sys
from pathlib import Path

from qgis.PyQt.QtCore import QSettings

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = "skysense_qgis"


def main() -> int:
    """Link, enable, say what to do next."""
    profile = profile_folder()
    link = profile / "python" / "plugins" / PLUGIN
    source = ROOT / PLUGIN
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        print(f"{link} is there already and is no link; move it away first.", file=sys.stderr)
        return 2
    link.symlink_to(source, target_is_directory=True)
    enable(profile)
    print(f"Installed in {profile}.")
    print("Start QGIS and press the SkySense button in the toolbar (or Raster, SkySense).")
    return 0


def enable(profile: Path) -> None:
    """Set the switch of the plugin manager."""
    settings = QSettings(str(profile / "QGIS" / "QGIS3.ini"), QSettings.Format.IniFormat)
    settings.setValue(f"PythonPlugins/{PLUGIN}", True)
    settings.sync()


def profile_folder() -> Path:
    """The profile that QGIS opens when it is started without arguments."""
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    profiles = home / "QGIS" / "QGIS3" / "profiles"
    settings = configparser.ConfigParser(strict=False, interpolation=None)
    settings.read(profiles / "profiles.ini", encoding="utf-8")
    return profiles / settings.get("core", "defaultProfile", fallback="default")


if __name__ == "__main__":
    sys.exit(main())
