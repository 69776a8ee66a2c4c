"""The plugin's zip: it loads where it is unpacked, with its own backend and model, and one without the model is refused."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_packaged_zip_loads_elsewhere(tmp_path):
    subprocess.run([sys.executable, str(ROOT / "tools" / "package.py"), "--out", str(tmp_path)], check=True)
    shutil.unpack_archive(str(next(tmp_path.glob("*.zip"))), str(tmp_path / "elsewhere"))
    script = (
        "from qgis.core import QgsApplication; app = QgsApplication([], False); app.initQgis()\n"
        "import skysense_qgis; plugin = skysense_qgis.classFactory(None); plugin.initProcessing()\n"
        "print(skysense_qgis.__file__, *(a.id() for a in QgsApplication.processingRegistry().algorithms()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "elsewhere")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(tmp_path / "elsewhere") in done.stdout
    assert "skysense:predict" in done.stdout and "skysense:finetune" in done.stdout


def test_the_packaged_backend_finds_the_packaged_model(tmp_path):
    subprocess.run([sys.executable, str(ROOT / "tools" / "package.py"), "--out", str(tmp_path)], check=True)
    archive = next(tmp_path.glob("*.zip"))
    shutil.unpack_archive(str(archive), str(tmp_path / "elsewhere"))
    plugin = tmp_path / "elsewhere" / "skysense_qgis"
    script = (
        "import torch, skysense; from skysense.model.backbone import default_backbone;"
        "from skysense.model.folder import built_in_model;"
        "print(skysense.__file__, built_in_model(), default_backbone(torch.device('cpu')).sha256, sep='\\n')"
    )

    def told(backend, **more):
        done = subprocess.run(
            [str(ROOT / ".venv" / "bin" / "python"), "-c", script],
            env={**os.environ, "PYTHONPATH": str(backend), **more},
            cwd=str(tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split("\n")[:3]

    model = plugin / "resources" / "models" / "skysense-tiny.safetensors"
    package, found, sha256 = told(plugin / "backend")
    assert package.startswith(str(plugin)) and found == str(model) and len(sha256) == 64
    # Installed in an environment of its own, it takes the file that the plugin names.
    shutil.move(str(plugin / "backend"), str(tmp_path / "site-packages"))
    package, found, again = told(tmp_path / "site-packages", SKYSENSE_BUILT_IN=str(model))
    assert package.startswith(str(tmp_path / "site-packages")) and (found, again) == (str(model), sha256)


def test_a_package_without_the_built_in_model_is_refused(tmp_path):
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import package
    finally:
        sys.path.pop(0)
    package.build(tmp_path / "whole.zip")
    assert package.check(tmp_path / "whole.zip") == []
    name = "skysense_qgis/resources/models/skysense-tiny.safetensors"
    with zipfile.ZipFile(tmp_path / "whole.zip") as whole, zipfile.ZipFile(tmp_path / "cut.zip", "w") as cut:
        for entry in whole.infolist():
            if entry.filename != name:
                cut.writestr(entry, whole.read(entry))
    assert package.check(tmp_path / "cut.zip") == ["resources/models/skysense-tiny.safetensors is missing"]
