"""The base model: the row in the panel, and the download of released weights from a hub on loopback."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from qgis.core import QgsApplication, QgsAuthMethodConfig, QgsProject, QgsSettings
from qgis.PyQt.QtWidgets import QWidget

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "backend" / "hub"))

from hub_server import FILE, NEW, OLD, REPOSITORY, Hub  # noqa: E402

from skysense_qgis.environment.find import SETTING  # noqa: E402
from skysense_qgis.models.dialog import DownloadDialog  # noqa: E402
from skysense_qgis.models.picker import ModelPicker  # noqa: E402
from skysense_qgis.models.token import read_token  # noqa: E402
from skysense_qgis.paths import cache_folder  # noqa: E402

CONTENT = bytes(random.Random(0).getrandbits(8) for _ in range(400_000)) * 5


@pytest.fixture
def hub():
    with Hub({FILE: CONTENT, "s2/model.pth": b"pickle"}) as hub:
        yield hub


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's model folder."""
    monkeypatch.setenv("SKYSENSE_MODELS", str(tmp_path / "models"))
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "models"


@pytest.fixture
def dialog(folder, client, hub, wait):
    dialog = DownloadDialog(client)
    dialog.got = []
    dialog.downloaded.connect(dialog.got.append)
    dialog.show()
    wait(lambda: dialog.licence.text())
    dialog.repository.setEditText(REPOSITORY)
    dialog.endpoint.setText(hub.endpoint)
    yield dialog
    dialog.close()
    dialog.deleteLater()


@pytest.fixture
def listed(dialog, wait):
    dialog.list_button.click()
    wait(lambda: not dialog.busy)
    return dialog


def make_token(token, method="Basic", key="password"):
    manager = QgsApplication.authManager()
    assert manager.setMasterPassword("master", True)
    config = QgsAuthMethodConfig(method)
    config.setName("hub")
    config.setConfig("username", "me")
    config.setConfig(key, token)
    stored = manager.storeAuthenticationConfig(config)
    assert stored[0] if isinstance(stored, tuple) else stored
    return config.id()


def test_it_suggests_repositories_and_shows_the_licence(folder, client, wait):
    dialog = DownloadDialog(client)
    wait(lambda: dialog.licence.text())
    assert dialog.repository.count() >= 1 and dialog.repository.currentText() == dialog.repository.itemText(0)
    assert "non-commercial research" in dialog.licence.text()
    assert dialog.endpoint.placeholderText().startswith("https://")
    assert not dialog.consent.isChecked() and not dialog.download_button.isEnabled()
    dialog.deleteLater()


def test_list_agree_download(listed, hub, folder, wait):
    dialog = listed
    assert dialog.file.itemText(0) == f"{FILE}  (2.0 MB)" and dialog.file.count() == 2
    assert NEW[:12] in dialog.status.text()
    assert not dialog.download_button.isEnabled()
    dialog.consent.setChecked(True)
    place = folder / "someone" / "weights" / "hr" / "model.safetensors"
    assert dialog.download_button.isEnabled() and dialog.place.text() == str(place)
    dialog.download_button.click()
    assert not dialog.download_button.isEnabled() and not dialog.repository.isEnabled()
    wait(lambda: not dialog.busy)
    assert dialog.got == [str(place)] and place.read_bytes() == CONTENT
    assert dialog.status.text().startswith("Downloaded and checked") and dialog.bar.value() == 1000
    record = json.loads(Path(f"{place}.source.json").read_text())
    assert record["revision"] == NEW and record["licence"] == dialog.licence.text()


def test_nothing_is_cut_off_when_the_advanced_group_is_open(listed, wait):
    before = listed.height()
    listed.advanced.setCollapsed(False)
    wait(lambda: listed.height() > before)
    for widget in (listed.revision, listed.licence, listed.place, listed.authentication):
        assert widget.height() >= widget.heightForWidth(widget.width())
        assert widget.height() >= widget.minimumSizeHint().height()


def test_listing_twice_lists_once(listed, wait):
    listed.list_button.click()
    wait(lambda: not listed.busy)
    assert listed.file.count() == 2


def test_another_repository_or_revision_forgets_the_files(listed):
    listed.revision.setText(OLD)
    assert listed.file.count() == 0 and listed.file.currentText() == ""
    assert not listed.download_button.isEnabled()


def test_a_typed_file_of_a_pinned_revision(dialog, folder, wait):
    dialog.revision.setText(OLD)
    dialog.file.setEditText(FILE)
    dialog.consent.setChecked(True)
    dialog.download()
    wait(lambda: not dialog.busy)
    assert Path(dialog.got[0]).read_bytes() == CONTENT[::-1]


def test_cancel_keeps_what_arrived_and_download_goes_on(listed, hub, wait):
    dialog = listed
    hub.pause_s = 0.05
    dialog.consent.setChecked(True)
    dialog.download_button.click()
    wait(lambda: dialog.bar.value() > 100)
    assert dialog.cancel_button.text() == "Cancel" and "of 2.0 MB" in dialog.status.text()
    dialog.cancel_button.click()
    wait(lambda: not dialog.busy)
    assert dialog.status.text().startswith("Stopped.") and not dialog.got
    assert dialog.cancel_button.text() == "Close" and dialog.download_button.isEnabled()
    hub.pause_s = 0.0
    dialog.download_button.click()
    wait(lambda: dialog.got)
    assert hub.content_requests()[-1].start > 200_000
    assert Path(dialog.got[0]).read_bytes() == CONTENT


def test_closing_the_window_stops_the_download(listed, hub, folder, wait):
    hub.pause_s = 0.05
    listed.consent.setChecked(True)
    listed.download_button.click()
    wait(lambda: listed.bar.value() > 0)
    listed.reject()
    wait(lambda: not listed.busy)
    assert not listed.isVisible() and not list(folder.rglob("*.safetensors"))


def test_the_token_comes_from_the_authentication_store_and_stays_in_memory(listed, hub, folder, client, wait):
    dialog = listed
    hub.gated = True
    dialog.list_button.click()
    wait(lambda: not dialog.busy)
    assert "give a token" in dialog.status.text()
    dialog.authentication.setConfigId(make_token(hub.token))
    dialog.list_button.click()
    wait(lambda: not dialog.busy)
    dialog.consent.setChecked(True)
    dialog.download_button.click()
    wait(lambda: not dialog.busy)
    assert dialog.got, dialog.status.text()
    sent = {(request.host, request.headers.get("authorization")) for request in hub.requests[-3:]}
    assert sent == {("hub", f"Bearer {hub.token}"), ("cdn", None)}
    client.shutdown()
    written = [path for path in [*folder.rglob("*"), cache_folder() / "worker.log"] if path.is_file()]
    assert len(written) >= 2 and not any(hub.token.encode() in path.read_bytes() for path in written)


@pytest.mark.parametrize(
    ("method", "key", "stored"),
    [
        ("Basic", "password", "hf_x"),
        ("EsriToken", "token", "hf_x"),
        ("APIHeader", "Authorization", "Bearer hf_x"),
    ],
)
def test_a_token_may_lie_in_several_kinds_of_configuration(method, key, stored):
    assert read_token(make_token(stored, method, key)) == "hf_x"


def test_an_authentication_without_a_token_is_named(dialog):
    assert read_token("") == ""
    with pytest.raises(ValueError, match="cannot be read"):
        read_token("0000000")
    dialog.authentication.setConfigId(make_token(""))
    dialog.list_files()
    assert "“hub” holds no token" in dialog.status.text() and not dialog.busy


def test_an_unreachable_hub_is_one_sentence(dialog, wait):
    dialog.endpoint.setText("http://127.0.0.1:9")
    dialog.list_button.click()
    wait(lambda: not dialog.busy)
    assert dialog.status.text().startswith("127.0.0.1:9: the hub cannot be reached")


# The row in the panel -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(python, tmp_path_factory) -> str:
    """Weights of a small model laid out as the released combined file."""
    path = tmp_path_factory.mktemp("checkpoint") / "released.pth"
    script = (
        "import sys, torch; from skysense.model.presets import seeded_model;"
        "torch.save({'model': seeded_model('tiny', 1).state_dict()}, sys.argv[1])"
    )
    subprocess.run([python, "-c", script, str(path)], check=True)
    return str(path)


@pytest.fixture
def picker(folder, client):
    picker = ModelPicker(client)
    picker.show()
    yield picker
    picker.deleteLater()


def entries(picker):
    return [picker.combo.itemText(number) for number in range(picker.combo.count())]


def settle(picker, wait):
    wait(lambda: picker.missing != "The base model is being prepared…", 60)


def test_nothing_has_to_be_chosen(picker):
    assert picker.path == "" and picker.missing == ""
    assert picker.combo.currentText() == "Built-in model"
    assert entries(picker) == ["Built-in model", "", "A file I have…", "Download…"]
    assert not picker.hint.isVisible() and not picker.convert_button.isVisible()


def test_a_checkpoint_is_offered_to_be_converted_and_then_used(picker, checkpoint, folder, wait):
    picker.use_files([checkpoint])
    settle(picker, wait)
    assert picker.path == "" and picker.convert_button.isVisible()
    assert "released.pth" in picker.hint.text() and picker.missing.startswith("Convert the base model")
    picker.convert_button.click()
    settle(picker, wait)
    assert Path(picker.path).parent == folder and picker.missing == ""
    assert picker.combo.currentText() == Path(picker.path).name
    assert not picker.convert_button.isVisible()
    backbone = picker.path
    picker.set_path("")
    picker.use_files([backbone])
    settle(picker, wait)
    assert picker.path == backbone
    picker._activated(0)
    assert picker.path == ""


def test_encoders_of_four_bands_are_asked_for_before_the_conversion(picker, checkpoint, wait):
    assert not any(box.isVisible() for box in picker.bands.values())
    picker.use_files([checkpoint])
    settle(picker, wait)
    assert all(box.isVisible() and not box.isChecked() for box in picker.bands.values())
    for box in picker.bands.values():
        box.setChecked(True)
    picker.convert_button.click()
    assert not any(box.isEnabled() for box in picker.bands.values())
    settle(picker, wait)
    assert not any(box.isVisible() for box in picker.bands.values())
    with open(picker.path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(json.loads(file.read(length))["__metadata__"]["skysense"])
    config = header["backbone"]["config"]
    assert config["hr_bands"] == ["R", "G", "B", "NIR"] and config["s2_bands"] == ["B2", "B3", "B4", "B8"]
    assert "NIR begins as red" in picker.hint.text()
    picker.use_files([checkpoint])  # the next time nothing is chosen
    settle(picker, wait)
    assert not any(box.isChecked() for box in picker.bands.values())


def test_a_conversion_can_be_cancelled_and_begun_again(picker, checkpoint, folder, wait):
    picker.use_files([checkpoint])
    settle(picker, wait)
    picker.convert_button.click()
    assert picker.convert_button.text() == "Cancel" and picker.missing
    picker.convert_button.click()
    settle(picker, wait)
    assert picker.path == "" and picker.convert_button.text() == "Convert"
    assert not list(folder.glob("*.safetensors"))
    picker.convert_button.click()
    settle(picker, wait)
    assert Path(picker.path).parent == folder and not picker.convert_button.isVisible()


def test_a_file_that_is_no_model_is_told_and_the_choice_kept(picker, tmp_path, wait):
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 20)
    picker.use_files([str(tmp_path / "broken.safetensors")])
    settle(picker, wait)
    assert "is not a safetensors file" in picker.hint.text()
    assert picker.path == "" and picker.missing == ""


def test_a_download_becomes_the_base_model(picker, checkpoint, hub, wait):
    hub.files["all.pth"] = Path(checkpoint).read_bytes()
    dialog = picker.download()
    wait(lambda: dialog.licence.text())
    dialog.repository.setEditText(REPOSITORY)
    dialog.endpoint.setText(hub.endpoint)
    dialog.file.setEditText("all.pth")
    dialog.consent.setChecked(True)
    dialog.download()
    wait(lambda: picker.convert_button.isVisible())
    assert picker.hint.text().startswith("all.pth")
    assert picker.download() is dialog
    dialog.close()


def test_a_dialog_first_opened_without_a_worker_asks_again_when_it_is_shown(picker, hub, tmp_path, wait):
    QgsSettings().setValue(SETTING, str(tmp_path / "python"))
    dialog = picker.download()
    wait(lambda: dialog.status.text())
    assert str(tmp_path / "python") in dialog.status.text() and not dialog.licence.text()
    QgsSettings().remove(SETTING)
    dialog.repository.setEditText(REPOSITORY)
    dialog.endpoint.setText(hub.endpoint)
    dialog.list_button.click()
    wait(lambda: not dialog.busy)
    dialog.consent.setChecked(True)
    dialog.file.setCurrentIndex(1)
    for _ in range(2):
        dialog.close()
        assert picker.download() is dialog
    wait(lambda: dialog.licence.text())
    # What was chosen meanwhile stays, and one answer is enough.
    assert dialog.repository.currentText() == REPOSITORY and dialog.place.text().endswith("s2/model.pth")
    assert dialog.download_button.isEnabled()
    suggested = [dialog.repository.itemText(number) for number in range(dialog.repository.count())]
    assert suggested and len(set(suggested)) == len(suggested)
    dialog.close()


def test_the_panel_trains_on_the_chosen_base_model(folder, client, checkpoint, tmp_path, wait):
    from iface import Iface
    from small_scene import make_labels, make_scene

    from skysense_qgis.dock.dock import SkySenseDock

    dock = SkySenseDock(Iface(), client)
    dock.add_paths([str(make_scene(tmp_path))])
    labels = make_labels()
    QgsProject.instance().addMapLayer(labels)
    dock.labels.choose(labels, "class")
    dock.run.folder.setFilePath(str(tmp_path / "out"))
    wait(lambda: dock.ready)
    dock.run.base.use_files([checkpoint])
    settle(dock.run.base, wait)
    assert not dock.run.train_button.isEnabled()
    assert dock.run.train_button.toolTip().startswith("Convert the base model")
    dock.run.base.convert()
    settle(dock.run.base, wait)
    said = []
    dock.trained.connect(said.append)
    dock.failed.connect(said.append)
    assert dock.run.train_button.isEnabled()
    dock.train()
    assert dock.jobs.recipe["model"] == dock.run.base.path
    wait(lambda: said, 60)
    assert isinstance(said[0], dict), said
    written = json.loads(Path(said[0]["model"] + ".recipe.json").read_text())
    assert written["model"] == dock.run.base.path
    base = dock.run.base.path
    assert QgsProject.instance().write(str(tmp_path / "p.qgs"))
    QgsProject.instance().clear()
    assert dock.run.base.path == ""
    assert QgsProject.instance().read(str(tmp_path / "p.qgs"))
    assert dock.run.base.path == base and dock.findChild(QWidget, "baseModelCombo").currentIndex() == 1
    os.unlink(base)
    wait(lambda: dock.ready)
    assert dock.run.base.missing.startswith("There is no base model")
    dock.close_down()
    dock.deleteLater()
