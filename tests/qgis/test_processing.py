"""The provider, in this QgsApplication and through qgis_process: what it makes, and what it says when it cannot."""

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCategorizedSymbolRenderer,
    QgsFeature,
    QgsFillSymbol,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProject,
    QgsRasterLayer,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDate
from small_scene import DATES, make_images, make_labels, make_scene

from skysense_qgis.dock.export import export_labels
from skysense_qgis.dock.row import RowError
from skysense_qgis.processing.finetune import table
from skysense_qgis.processing.inputs import SceneProblem, parse_dates

ROOT = Path(__file__).resolve().parents[2]


class Feedback(QgsProcessingFeedback):
    def __init__(self) -> None:
        super().__init__(False)
        self.errors: list = []

    def reportError(self, error: str, fatalError: bool = False) -> None:
        self.errors.append(error)


@pytest.fixture(scope="module")
def scene(qgis_app, tmp_path_factory) -> Path:
    """The folder of a scene with labels of its own."""
    folder = tmp_path_factory.mktemp("scene")
    file = make_scene(folder)
    export_labels(make_labels(), folder / "labels.gpkg")
    data = json.loads(file.read_text())
    file.write_text(
        json.dumps({**data, "labels": {"path": "labels.gpkg", "field": "class", "layer": "labels"}})
    )
    return folder


@pytest.fixture(scope="module")
def model(provider, python, scene, tmp_path_factory) -> str:
    output = tmp_path_factory.mktemp("model") / "crops.safetensors"
    result = run("finetune", {"SCENE": str(scene / "scene.json"), "OUTPUT": str(output)})
    assert result["OUTPUT"] == str(output) and output.is_file()
    return str(output)


def algorithm(name: str) -> QgsProcessingAlgorithm:
    return QgsApplication.processingRegistry().createAlgorithmById(f"skysense:{name}")


def run(name: str, parameters: dict, context=None) -> dict:
    """Check and run as Processing does; a failure raises QgsProcessingException."""
    chosen = algorithm(name)
    context = context or QgsProcessingContext()
    context.setProject(QgsProject.instance())
    ok, message = chosen.checkParameterValues(parameters, context)
    if not ok:
        raise QgsProcessingException(message)
    results, ok = chosen.run(parameters, context, QgsProcessingFeedback(False), {}, False)
    assert ok
    return results


def one_sentence(text: str) -> bool:
    return 10 < len(text) < 400 and "\n" not in text.strip() and "Traceback" not in text


def test_the_provider_lists_all(provider):
    assert provider.id() == "skysense" and not provider.icon().isNull()
    assert sorted(item.name() for item in provider.algorithms()) == [
        "adjustedareas",
        "areas",
        "change",
        "classifypolygons",
        "clusters",
        "detectobjects",
        "embed",
        "finetune",
        "predict",
        "similarity",
        "suggest",
        "vectorize",
        "verificationsample",
    ]
    for item in provider.algorithms():
        assert item.shortHelpString() and item.shortDescription() and item.displayName()
        assert not item.flags() & QgsProcessingAlgorithm.FlagNoThreading


def test_outputs_are_of_the_kinds_that_can_be_written(provider):
    assert provider.supportedOutputVectorLayerExtensions() == ["gpkg"]
    assert provider.supportedOutputRasterLayerExtensions() == ["tif"]
    for item in provider.algorithms():
        for parameter in item.parameterDefinitions():
            if hasattr(parameter, "supportsNonFileBasedOutput"):
                assert not parameter.supportsNonFileBasedOutput()
    assert algorithm("vectorize").parameterDefinition("OUTPUT").createFileFilter().startswith("GPKG")


def test_the_report_is_told_class_by_class_beside_the_forest():
    figures = {"precision": 0.5, "recall": 0.75, "f1": 0.6, "iou": 0.4286}
    nothing = dict.fromkeys(figures)
    report = {
        "miou": 0.4286,
        "macro_f1": 0.6,
        "forest": {"oa": 0.5, "miou": 0.4, "macro_f1": 0.55},
        "classes": [
            {"id": 1, "n_polygons": 4, "n_pixels": 9, **figures},
            {"id": 2, "n_polygons": 4, "n_pixels": 9, **figures, "precision": None},
            {"id": 7, "n_polygons": 1, "n_pixels": 9, **nothing},
        ],
    }
    assert table(report, {1: "maize", 2: "wheat", 7: "hemp"}) == [
        "  maize, 4 polygons: precision 0.50, recall 0.75, f1 0.60, iou 0.43",
        "  wheat, 4 polygons: precision none, recall 0.75, f1 0.60, iou 0.43",
        "  hemp, 1 polygon: cannot be judged",
        "All classes: mean IoU 0.43, mean F1 0.60. A random forest on the bands alone, on the same polygons: mean IoU 0.40, "
        "mean F1 0.55.",
    ]
    assert table({**report, "miou": None}, {}) == []


def test_finetune_gives_figures_for_the_modeler(provider, model, scene, tmp_path):
    result = run("finetune", {"SCENE": str(scene), "SEED": 1, "OUTPUT": str(tmp_path / "m.safetensors")})
    for name in ("OA", "MACRO_F1", "MIOU"):
        assert math.isnan(result[name]) or 0.0 <= result[name] <= 1.0


def test_finetune_takes_a_base_model_and_a_precision(provider, python, scene, tmp_path):
    base, output = tmp_path / "base.safetensors", tmp_path / "m.safetensors"
    script = (
        "import sys, torch; from pathlib import Path; from skysense.model.presets import seeded_model;"
        "from skysense.jobs.control import JobControl;"
        "from skysense.model.checkpoint.convert import convert; checkpoint = Path(sys.argv[1] + '.pth');"
        "torch.save({'model': seeded_model('tiny', 1).state_dict()}, checkpoint);"
        "convert([(checkpoint, None)], Path(sys.argv[1]), JobControl(lambda event: None))"
    )
    subprocess.run([python, "-c", script, str(base)], check=True)
    run("finetune", {"SCENE": str(scene), "MODEL": str(base), "PRECISION": 2, "OUTPUT": str(output)})
    recipe = json.loads((tmp_path / "m.safetensors.recipe.json").read_text())
    assert recipe["model"] == str(base) and recipe["options"]["precision"] == "bfloat16"


def test_finetune_takes_layers_labels_and_their_colours(provider, python, tmp_path):
    labels = make_labels()
    colours = {"wheat": "#112233", "maize": "#aabbcc"}
    labels.setRenderer(
        QgsCategorizedSymbolRenderer(
            "class",
            [QgsRendererCategory(k, QgsFillSymbol.createSimple({"color": v}), k) for k, v in colours.items()],
        )
    )
    QgsProject.instance().addMapLayer(labels)
    output = tmp_path / "m.safetensors"
    run(
        "finetune",
        {"S2": make_images(tmp_path), "LABELS": labels.id(), "FIELD": "class", "OUTPUT": str(output)},
    )
    recipe = json.loads((tmp_path / "m.safetensors.recipe.json").read_text())
    assert recipe["options"]["colors"] == colours
    copy = QgsVectorLayer(f"{recipe['labels']['path']}|layername={recipe['labels']['layer']}", "copy", "ogr")
    assert copy.featureCount() == labels.featureCount()  # the polygon that is not saved yet counts
    assert copy.fields().lookupField("note") >= 0


def test_drawing_on_in_the_copy_beside_a_model_loses_nothing(provider, python, scene, tmp_path):
    """The copy of the labels of a training is what the next one learns from: it must not be written while it is read."""
    output, labels = tmp_path / "m.safetensors", make_labels()
    given = {"SCENE": str(scene / "scene.json"), "LABELS": labels, "FIELD": "class", "OUTPUT": str(output)}
    run("finetune", given)
    copy = QgsVectorLayer(f"{output}.labels.gpkg|layername=labels", "copy", "ogr")
    count = copy.featureCount()
    assert count == labels.featureCount()
    run("finetune", given | {"LABELS": copy})
    assert copy.featureCount() == count and sum(1 for _ in copy.getFeatures()) == count
    recipe = json.loads(Path(f"{output}.recipe.json").read_text(encoding="utf-8"))
    again = QgsVectorLayer(f"{recipe['labels']['path']}|layername=labels", "again", "ogr")
    assert recipe["labels"]["path"].endswith(".labels-2.gpkg") and again.featureCount() == count


def test_labels_of_dates_make_a_model_that_maps_one_of_them(provider, python, scene, tmp_path):
    layer = QgsVectorLayer(
        "Polygon?crs=EPSG:32631&field=class:string(40)&field=when:date&field=text:string", "dated", "memory"
    )
    drawn, features = make_labels(), []
    for source in drawn.getFeatures():
        feature = QgsFeature(layer.fields())
        feature.setGeometry(source.geometry())
        feature.setAttributes(
            [source["class"], QDate.fromString(DATES[len(features) % 2], "yyyy-MM-dd"), "May"]
        )
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    QgsProject.instance().addMapLayer(layer)
    model, output = str(tmp_path / "m.safetensors"), str(tmp_path / "map.tif")
    given = {"SCENE": str(scene), "LABELS": layer.id(), "FIELD": "class", "OUTPUT": model}
    for field, told in (("text", "holds no date but 'May' in row 1"), ("day", "have no field “day”")):
        with pytest.raises(QgsProcessingException, match=told):
            run("finetune", {**given, "DATE_FIELD": field})
    with pytest.raises(QgsProcessingException, match="learned date by date"):
        run("finetune", {**given, "DATE_FIELD": "when", "MODE": 1})
    run("finetune", {**given, "DATE_FIELD": "when"})
    recipe = json.loads((tmp_path / "m.safetensors.recipe.json").read_text())
    assert recipe["labels"]["date_field"] == "when"
    given = {"SCENE": str(scene), "MODEL": model, "OUTPUT": output}
    with pytest.raises(QgsProcessingException, match="“May” is no day; write the day to map"):
        run("predict", {**given, "AT": "May"})
    for at, date in (("2021-04-20", DATES[0]), ("", DATES[-1])):
        run("predict", {**given, "AT": at})
        assert gdal.Open(output).GetMetadataItem("SKYSENSE_AT") == date


def test_the_map_is_the_very_same_from_the_cli_and_is_styled_when_loaded(
    provider, python, model, scene, tmp_path
):
    output = tmp_path / "map.tif"
    context = QgsProcessingContext()
    details = QgsProcessingContext.LayerDetails("Map", QgsProject.instance(), "OUTPUT")
    context.addLayerToLoadOnCompletion(str(output), details)
    result = run(
        "predict", {"SCENE": str(scene / "scene.json"), "MODEL": model, "OUTPUT": str(output)}, context
    )
    assert result == {"OUTPUT": str(output), "CONFIDENCE": str(tmp_path / "map_confidence.tif")}

    cli = tmp_path / "cli"
    cli.mkdir()
    command = [
        str(Path(python).with_name("skysense")),
        "predict",
        str(scene / "scene.json"),
        "--model",
        model,
    ]
    subprocess.run([*command, "--out", str(cli / "map.tif")], check=True, capture_output=True)
    for name in ("map.tif", "map_confidence.tif"):
        assert (tmp_path / name).read_bytes() == (cli / name).read_bytes()

    loaded = context.layersToLoadOnCompletion()
    assert set(loaded) == {str(output), str(tmp_path / "map_confidence.tif")}
    for path, kind in (
        (str(output), "paletted"),
        (str(tmp_path / "map_confidence.tif"), "singlebandpseudocolor"),
    ):
        layer = QgsProcessingUtils.mapLayerFromString(path, context)
        loaded[path].postProcessor().postProcessLayer(layer, context, QgsProcessingFeedback(False))
        assert layer.renderer().type() == kind


def test_a_map_inside_of_polygons_with_more_rasters_by_two_processes(provider, model, scene, tmp_path):
    labels, output = make_labels(), tmp_path / "map.tif"
    QgsProject.instance().addMapLayer(labels)
    result = run(
        "predict",
        {"SCENE": str(scene), "MODEL": model, "INSIDE": labels.id(), "PRODUCTS": [0, 1], "BLEND": True, "WORKERS": 2, "OUTPUT": str(output)},
    )  # fmt: skip
    assert Path(result["PROBABILITIES"]).name == "map_probabilities.tif"
    assert QgsRasterLayer(result["PROBABILITIES"]).bandCount() == 2
    assert QgsRasterLayer(result["ENTROPY"]).isValid()
    assert labels.extent().buffered(20).contains(QgsRasterLayer(str(output)).extent())
    options = json.loads((tmp_path / "map.tif.recipe.json").read_text())["options"]
    assert (
        options["products"] == ["probabilities", "entropy"]
        and options["blend"]
        and options["workers"] == 2
        and Path(options["within"]).is_file()
    )
    empty = QgsVectorLayer("Polygon?crs=EPSG:32631", "empty", "memory")
    QgsProject.instance().addMapLayer(empty)
    with pytest.raises(QgsProcessingException, match="to map inside of is empty"):
        run("predict", {"SCENE": str(scene), "MODEL": model, "INSIDE": empty.id(), "OUTPUT": str(output)})


def test_an_extent_maps_the_cut_out(provider, python, model, scene, tmp_path):
    whole, part = tmp_path / "whole.tif", tmp_path / "part.tif"
    run("predict", {"SCENE": str(scene), "MODEL": model, "OUTPUT": str(whole)})
    extent = "500100,500300,5599600,5599900 [EPSG:32631]"
    run("predict", {"SCENE": str(scene), "MODEL": model, "EXTENT": extent, "OUTPUT": str(part)})
    one, other = QgsRasterLayer(str(whole)), QgsRasterLayer(str(part))
    assert (other.width(), other.height()) == (20, 30)
    blocks = [layer.dataProvider().block(1, other.extent(), 20, 30).data().data() for layer in (one, other)]
    assert blocks[0] == blocks[1]


@pytest.mark.parametrize(
    ("name", "parameters", "told"),
    [
        ("predict", {}, "scene file"),
        ("predict", {"SCENE": "/nowhere/scene.json"}, "/nowhere/scene.json"),
        ("predict", {"S2": ["/nowhere/a.tif"]}, "opened"),
        ("predict", {"SCENE": "{scene}", "S2": ["{image}"]}, "not both"),
        ("predict", {"S2": ["{image}"], "DATES": "yesterday"}, "yesterday"),
        ("predict", {"S2": ["{image}"], "DATES": "other=2021-04-10"}, "other"),
        ("predict", {"SCENE": "{scene}", "MODEL": "/nowhere/m.safetensors"}, "/nowhere/m.safetensors"),
        ("predict", {"SCENE": "{scene}", "MODEL": "{image}"}, "model"),
        ("finetune", {"S2": ["{image}"]}, "labels"),
        ("finetune", {"SCENE": "{scene}", "LABELS": "{labels}"}, "field"),
        ("finetune", {"SCENE": "{scene}", "LABELS": "{labels}", "FIELD": "crop"}, "crop"),
        ("finetune", {"SCENE": "{scene}", "DEVICE": "abacus"}, "abacus"),
        ("finetune", {"SCENE": "{scene}", "MODEL": "/nowhere/b.safetensors"}, "/nowhere/b.safetensors"),
        ("finetune", {"SCENE": "{scene}", "MODEL": "{image}"}, "model"),
    ],
)
def test_what_is_wrong_is_one_sentence(provider, python, model, scene, tmp_path, name, parameters, told):
    places = {
        "{scene}": str(scene / "scene.json"),
        "{image}": str(next(scene.glob("*.tif"))),
        "{labels}": str(scene / "labels.gpkg"),
    }

    def fill(value):
        return [fill(item) for item in value] if isinstance(value, list) else places.get(value, value)

    given = {
        "MODEL": model,
        **{key: fill(value) for key, value in parameters.items()},
        "OUTPUT": str(tmp_path / "o.tif"),
    }
    if name == "finetune" and "MODEL" not in parameters:
        del given["MODEL"]
    with pytest.raises(QgsProcessingException) as raised:
        run(name, given)
    assert told in str(raised.value) and one_sentence(str(raised.value))


def test_dates_by_name_or_in_order():
    names = [("April", "a.tif"), ("June", "b.tif")]
    assert parse_dates("", names) == [None, None]
    assert parse_dates("2021-04-10; 2021-06-19", names) == ["2021-04-10", "2021-06-19"]
    assert parse_dates("b=2021-06-19", names) == [None, "2021-06-19"]
    assert parse_dates("June=2021-06-19;a.tif=2021-4-10;", names) == ["2021-04-10", "2021-06-19"]
    with pytest.raises(SceneProblem):
        parse_dates("2021-04-10", names)
    with pytest.raises(RowError):
        parse_dates("a=2021-13-10", names)


def test_qgis_process_lists_and_runs(python, model, scene, tmp_path):
    program = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    if program is None:
        pytest.skip("qgis_process is not there")
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "skysense_qgis").symlink_to(ROOT / "skysense_qgis")
    settings = tmp_path / "data" / "QGIS" / "QGIS3" / "profiles" / "default" / "QGIS" / "QGIS3.ini"
    settings.parent.mkdir(parents=True)
    settings.write_text("[PythonPlugins]\nskysense_qgis=true\n")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "QGIS_PLUGINPATH": str(plugins),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }

    def call(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [program, *arguments], env=environment, capture_output=True, text=True, timeout=300
        )

    listed = call("list").stdout
    assert "skysense:finetune" in listed and "skysense:predict" in listed
    output = tmp_path / "map.tif"
    given = [f"SCENE={scene / 'scene.json'}", f"MODEL={model}", f"OUTPUT={output}"]
    done = call("run", "skysense:predict", "--", *given)
    assert done.returncode == 0, done.stderr
    run(
        "predict", {"SCENE": str(scene / "scene.json"), "MODEL": model, "OUTPUT": str(tmp_path / "again.tif")}
    )
    assert output.read_bytes() == (tmp_path / "again.tif").read_bytes()
    layers = [f"--S2={path}" for path in sorted(scene.glob("*.tif"))]
    dates = f"--DATES={';'.join(DATES)}"
    done = call(
        "run", "skysense:predict", *layers, dates, f"--MODEL={model}", f"--OUTPUT={tmp_path / 'layers.tif'}"
    )
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == (tmp_path / "layers.tif").read_bytes()
    failed = call("run", "skysense:predict", "--", "SCENE=/nowhere", f"MODEL={model}", f"OUTPUT={output}")
    assert failed.returncode != 0 and "/nowhere" in failed.stdout + failed.stderr
