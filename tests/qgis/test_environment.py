import os

from qgis.core import QgsSettings
from qgis.PyQt.QtCore import QProcess

from skysense_qgis.environment import find
from skysense_qgis.environment.launch import clean_variables, prepare, proxy_variables
from skysense_qgis.environment.options import SkySenseOptionsFactory, SkySenseOptionsPage
from skysense_qgis.paths import built_in_model


def program(folder, name="python"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_users_choice_comes_first(tmp_path, monkeypatch):
    chosen, other = program(tmp_path / "a"), program(tmp_path / "b")
    monkeypatch.setenv("SKYSENSE_PYTHON", str(other))
    QgsSettings().setValue("skysense/python", str(chosen))
    found = find.find_python()
    assert found.program == str(chosen)
    assert found.arguments == ("-I", "-u", "-m", "skysense", "worker")
    QgsSettings().remove("skysense/python")
    assert find.find_python().program == str(other)


def test_a_choice_that_does_not_work_is_told_not_skipped(tmp_path):
    QgsSettings().setValue("skysense/python", str(tmp_path / "gone"))
    found = find.find_python()
    assert not found.ok
    assert "gone" in found.reason and "Options" in found.reason


def test_the_environment_beside_the_real_plugin_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(find, "PLUGIN_FOLDER", tmp_path / "plugin")
    monkeypatch.setattr(find, "data_folder", lambda: tmp_path / "data")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert not find.find_python().ok
    command = program(tmp_path / "bin", "skysense")
    assert find.find_python() == find.Found(
        str(command), ("worker",), f"It is the command skysense on the PATH: {command}."
    )
    user = program(find.venv_python(tmp_path / "data" / "env").parent)
    assert find.find_python().program == str(user)
    beside = program(find.venv_python(tmp_path / ".venv").parent)
    assert find.find_python().program == str(beside)


def test_a_folder_means_its_python(tmp_path):
    python = program(find.venv_python(tmp_path / "env").parent)
    assert find.check_python(str(tmp_path / "env")).program == str(python)


def test_nothing_of_qgis_leaks():
    dirty = {
        "PYTHONHOME": "/qgis",
        "PYTHONPATH": "/qgis/python",
        "PYTHONEXECUTABLE": "/qgis/python",
        "VIRTUAL_ENV": "/v",
        "PIP_TARGET": "/t",
        "LD_LIBRARY_PATH": "/snap",
        "LD_PRELOAD": "x.so",
        "GDAL_DATA": "/qgis/gdal",
        "PROJ_LIB": "/qgis/proj",
        "PROJ_DATA": "/qgis/proj",
        "QT_QPA_PLATFORM": "offscreen",
        "HOME": "/home/me",
        "PATH": "/usr/bin",
        "CUDA_VISIBLE_DEVICES": "1",
        "OMP_NUM_THREADS": "1",
    }
    assert clean_variables(dirty) == {
        "HOME": "/home/me",
        "PATH": "/usr/bin",
        "CUDA_VISIBLE_DEVICES": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def test_what_the_user_has_set_for_servers_stays():
    given = {
        "OSGEO4W_ROOT": "/osgeo",
        "SSL_CERT_FILE": "/etc/ssl/company.pem",
        "CURL_CA_BUNDLE": "/osgeo/bin/curl-ca-bundle.crt",
        "REQUESTS_CA_BUNDLE": "/qgis/cacert.pem",
        "GDAL_HTTP_HEADER_FILE": "/home/me/token",
        "CPL_VSIL_CURL_CHUNK_SIZE": "65536",
    }
    kept = clean_variables(given, "/qgis")
    assert kept.keys() - {"PYTHONNOUSERSITE", "PYTHONIOENCODING"} == {
        "SSL_CERT_FILE",
        "GDAL_HTTP_HEADER_FILE",
        "CPL_VSIL_CURL_CHUNK_SIZE",
    }


def test_qgis_s_proxy_serves_the_worker_too():
    settings = QgsSettings()
    assert proxy_variables(settings) == {}
    values = {
        "Enabled": True,
        "Type": "HttpProxy",
        "Host": "proxy.org",
        "Port": "3128",
        "User": "me",
        "Password": "a b@",
    }
    try:
        for key, value in values.items():
            settings.setValue(f"proxy/proxy{key}", value)
        address = "http://me:a%20b%40@proxy.org:3128"
        found = proxy_variables(settings)
        assert found == {"HTTP_PROXY": address, "HTTPS_PROXY": address, "NO_PROXY": "localhost,127.0.0.1"}
        settings.setValue("proxy/proxyType", "Socks5Proxy")
        assert proxy_variables(settings) == {}
    finally:
        settings.remove("proxy")


def test_the_worker_does_not_start_in_the_plugins_folder():
    process = QProcess()
    prepare(process, find.Found("python", ("worker",), ""))
    assert os.path.basename(process.workingDirectory()) == "skysense"
    assert process.arguments() == ["worker"]


def test_the_worker_is_told_where_the_plugins_model_is():
    process = QProcess()
    prepare(process, find.Found("python", ("worker",), ""))
    given = process.processEnvironment().value("SKYSENSE_BUILT_IN")
    assert given == built_in_model() and os.path.isfile(given)


def test_the_options_page_verifies_and_applies(python, wait):
    changes = []
    page = SkySenseOptionsFactory(lambda: changes.append(1)).createWidget(None)
    assert isinstance(page, SkySenseOptionsPage)
    page.python.setFilePath(python)
    page.verify()
    wait(lambda: page.verify_button.isEnabled())
    assert page.verdict.text().startswith("It works: SkySense ")
    page.apply()
    page.apply()
    assert QgsSettings().value("skysense/python") == python
    assert changes == [1]
    page.python.setFilePath("/nowhere/python")
    page.verify()
    wait(lambda: page.verify_button.isEnabled())
    assert "There is no program /nowhere/python" in page.verdict.text()
