"""`skysense:finetune`: from a scene and labelled polygons to a model file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsCoordinateTransformContext,
    QgsFeatureSink,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSource,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
    QgsProject,
    QgsProviderRegistry,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from ..dock.class_ids import known_ids, remember_ids
from ..dock.export import class_colors
from ..dock.target import TARGETS
from .algorithm import SkySenseAlgorithm
from .inputs import SCENE, read_split

LABELS, FIELD, MODEL, SEED, OUTPUT = "LABELS", "FIELD", "MODEL", "SEED", "OUTPUT"
TARGET, SPLIT, AREAS = "TARGET", "SPLIT", "AREAS"
DATE_FIELD = "DATE_FIELD"
#: What the labels teach, in the recipe's word and in plain ones.
TAUGHT = {name: target.taught for name, target in TARGETS.items() if target.taught}
MODE = "MODE"
#: What is trained, in the recipe's word and in plain ones.
MODES = {
    "head": "The classifier only (seconds)",
    "decoder": "Classifier, and a look around each pixel (minutes)",
    "lora": "Classifier, and small additions to the model (minutes)",
    "full": "Classifier, and the whole model (minutes to hours)",
}
#: Output number of each figure of the training report.
FIGURES = {
    "OA": "oa",
    "MACRO_F1": "macro_f1",
    "MIOU": "miou",
    "RMSE": "rmse",
    "R2": "r2",
    "F1": "f1",
    "AP": "ap",
}

_HELP = """Trains a model to map the classes of labelled polygons.

Give the imagery either as a scene file (scene.json) or as layers: a high-resolution picture (HR), Sentinel-2 and \
Sentinel-1 of one or several dates. Any one of the three is enough. Acquisition dates come from the layers' temporal \
range, else from the files and their names, else from what is typed here.

The labels are polygons or points with a class field: a name, or a whole number from 1 to 255. A few polygons for each class, \
spread over the area, are enough. Polygons of a selection or an edit that is not saved yet are used as they are.

What is true on one day only, such as a flood, a burn or bare soil, is drawn with a date field: a polygon then teaches how things look \
in the images nearest to its date, at most 30 days off, and the model maps one day at a time. That goes with the class of every pixel \
and with training the classifier only.

Training builds on the built-in model, or on a base model that was downloaded or converted (SkySense panel, \
"Base model").

Labels can also teach a number (the field then holds numbers), the class of whole polygons such as parcels (mapped with \
“Classify polygons with a model”), or what changed between two periods, which a date splits (the classes are then changes, such as \
“no change” and “built”).

Or they are objects in HR imagery, such as buildings or cars, each drawn by itself as a polygon (best as a rectangle along its sides) \
or as a point, 50 of them or more; they are found with “Find objects with a model”. What is not drawn counts as background only inside \
the areas that are given as fully drawn or, without such areas, near the drawn objects.

The result is one file with the model. OA, MACRO_F1 and MIOU, RMSE and R2 of numbers, or F1 and AP (average \
precision) of objects, tell how well it maps what it was \
not trained on; they are NaN if there are too few polygons to tell.

What is trained decides how long it takes. The classifier alone takes seconds and is a good start. A look around each pixel is a small \
network on what lies beside it, which needs many polygons. Adapting the model as well, by small additions or as a whole (hours with a \
large model, on a GPU), can help where the imagery or the classes are unlike what it knows. Kept is only what made held-out polygons better.

The work runs outside QGIS, in the SkySense environment (Settings, Options, SkySense)."""


class FinetuneAlgorithm(SkySenseAlgorithm):
    """Trains a head on the scene's features."""

    def name(self) -> str:
        return "finetune"

    def displayName(self) -> str:
        return "Train a model on polygons"

    def shortDescription(self) -> str:
        return "Trains a model on labelled polygons and HR, Sentinel-2 or Sentinel-1 imagery."

    def shortHelpString(self) -> str:
        return _HELP

    def tags(self) -> list[str]:
        return ["train", "classification", "land cover", "crops", "sentinel", "deep learning", "fine-tune"]

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene()
        self.addParameter(
            QgsProcessingParameterFeatureSource(
                LABELS,
                "Labelled polygons or points (a scene file can have its own)",
                [QgsProcessing.TypeVectorPolygon, QgsProcessing.TypeVectorPoint],
                optional=True,
            )
        )
        self.addParameter(
            QgsProcessingParameterField(
                FIELD, "Class field (or field of numbers)", parentLayerParameterName=LABELS, optional=True
            )
        )
        self.addParameter(
            QgsProcessingParameterField(
                DATE_FIELD,
                "Date field, where polygons are true on one day only",
                parentLayerParameterName=LABELS,
                optional=True,
            )
        )
        self.addParameter(
            QgsProcessingParameterEnum(TARGET, "What the labels teach", list(TAUGHT.values()), defaultValue=0)
        )
        self.addParameter(
            QgsProcessingParameterString(
                SPLIT, "For changes: first day of the second period (YYYY-MM-DD)", optional=True
            )
        )
        self.addParameter(
            QgsProcessingParameterFeatureSource(
                AREAS,
                "For objects: areas in which all of them are drawn",
                [QgsProcessing.TypeVectorPolygon],
                optional=True,
            )
        )
        self.addParameter(
            QgsProcessingParameterEnum(MODE, "What is trained", list(MODES.values()), defaultValue=0)
        )
        self.add_advanced(
            QgsProcessingParameterFile(
                MODEL,
                "Base model (empty = the built-in one)",
                optional=True,
                fileFilter="SkySense base models (*.safetensors);;All files (*)",
            )
        )
        self.add_advanced(
            QgsProcessingParameterNumber(
                SEED, "Seed", QgsProcessingParameterNumber.Integer, defaultValue=0, minValue=0
            )
        )
        self.add_device()
        self.addParameter(
            QgsProcessingParameterFileDestination(OUTPUT, "Model", "SkySense model (*.safetensors)")
        )
        for name, title in (
            ("OA", "Overall accuracy"),
            ("MACRO_F1", "Macro F1"),
            ("MIOU", "Mean intersection over union"),
            ("RMSE", "Root mean squared error, of numbers"),
            ("R2", "Coefficient of determination, of numbers"),
            ("F1", "F1, of objects"),
            ("AP", "Average precision, of objects"),
        ):
            self.addOutput(QgsProcessingOutputNumber(name, title))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        problem = super().problem(parameters, context)
        if problem:
            return problem
        model = self.parameterAsString(parameters, MODEL, context)
        if model and not Path(model).is_file():
            return f"The base model {model} does not exist."
        split = read_split(self.parameterAsString(parameters, SPLIT, context))
        if (self.target(parameters, context) == "changes") != bool(split):
            return (
                "A day splits the scene, but the labels do not teach changes; leave it out."
                if split
                else "To learn changes, give the first day of the second period."
            )
        if parameters.get(AREAS):
            if self.target(parameters, context) != "objects":
                return "Areas in which all objects are drawn are given, but the labels do not teach objects; leave them out."
            if not parameters.get(LABELS):
                return "Choose the layer of the objects that are drawn in the areas."
        if not parameters.get(LABELS):
            if not self.parameterAsString(parameters, SCENE, context).strip():
                return "Choose the layer of polygons or points with the labels."
            return ""
        source = self.parameterAsSource(parameters, LABELS, context)
        field = self.parameterAsString(parameters, FIELD, context)
        if source is None:
            return "The layer with the labels cannot be opened."
        if not field:
            return "Choose the field of the labels that holds the class."
        if source.fields().lookupField(field) < 0:
            return f"The labels have no field “{field}”; they have {', '.join(source.fields().names())}."
        dated = self.parameterAsString(parameters, DATE_FIELD, context)
        if dated and source.fields().lookupField(dated) < 0:
            return f"The labels have no field “{dated}”; they have {', '.join(source.fields().names())}."
        if source.featureCount() == 0:
            return "The layer with the labels is empty; draw a few polygons for each class."
        return ""

    def target(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """What the labels teach, in the recipe's word."""
        return list(TAUGHT)[self.parameterAsEnum(parameters, TARGET, context)]

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        super().prepareAlgorithm(parameters, context, feedback)
        self.labels = self.parameterAsSource(parameters, LABELS, context) if parameters.get(LABELS) else None
        self.field = self.parameterAsString(parameters, FIELD, context)
        self.date_field = self.parameterAsString(parameters, DATE_FIELD, context)
        self.areas = self.parameterAsSource(parameters, AREAS, context) if parameters.get(AREAS) else None
        layer = self.parameterAsVectorLayer(parameters, LABELS, context) if self.labels else None
        self.colors = class_colors(layer, self.field)
        # A file that is no layer of the project gets another layer id each time: nothing could be remembered of it.
        self.layer_id = layer.id() if layer and QgsProject.instance().mapLayer(layer.id()) else ""
        self.ids = known_ids(layer, self.field) if self.layer_id else {}
        self.classes: list[dict[str, Any]] = []  # of the training, once it has ended
        return True

    def postProcessAlgorithm(
        self, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        # The project is written to on the main thread. The layer may be gone by now.
        remember_ids(QgsProject.instance().mapLayer(self.layer_id), self.field, self.classes)
        return {}

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        output = Path(self.parameterAsFileOutput(parameters, OUTPUT, context)).absolute()
        options = self.options(parameters, context)
        seed = self.parameterAsInt(parameters, SEED, context)
        if seed:
            options["seed"] = seed
        mode = list(MODES)[self.parameterAsEnum(parameters, MODE, context)]
        if mode != "head":
            options["mode"] = mode
        target = self.target(parameters, context)
        if self.colors and target != "values":
            options["colors"] = self.colors
        if self.ids and target != "values":
            options["ids"] = self.ids
        if target != "classes":
            options["target"] = target
        split = read_split(self.parameterAsString(parameters, SPLIT, context))
        if split:
            options["split"] = split
        recipe = {
            "skysense": 1,
            "task": "finetune",
            "scene": self.scene,
            "output": str(output),
            "options": options,
        }
        model = self.parameterAsString(parameters, MODEL, context)
        if model:
            recipe["model"] = str(Path(model).absolute())
        if self.labels is not None:
            path = beside(output, "labels", self.parameterAsVectorLayer(parameters, LABELS, context))
            write_labels(self.labels, path, context.transformContext())
            recipe["labels"] = {"path": str(path), "field": self.field, "layer": "labels"}
            if self.date_field:
                recipe["labels"]["date_field"] = self.date_field
            if self.areas is not None:
                path = beside(output, "areas", self.parameterAsVectorLayer(parameters, AREAS, context))
                write_labels(self.areas, path, context.transformContext())
                recipe["labels"] |= {"areas": str(path), "areas_layer": "labels"}
        elif self.field or self.date_field:
            raise QgsProcessingException("A field is given, but no layer with labels.")
        result = self.run_recipe(recipe, feedback)
        self.classes = result.get("classes") or []
        report = result["report"]
        found = {name: report.get(key) for name, key in FIGURES.items()}
        figures = {name: math.nan if value is None else value for name, value in found.items()}
        if target == "values":
            for line in lines_of_numbers(report, result["field"]):
                feedback.pushInfo(line)
            return {OUTPUT: result["model"], **figures}
        if target == "objects":
            for line in lines_of_objects(report, {item["id"]: item["name"] for item in result["classes"]}):
                feedback.pushInfo(line)
            return {OUTPUT: result["model"], **figures}
        feedback.pushInfo(
            f"{len(result['classes'])} classes from {report['n_polygons']} polygons; scored on {report['scored_on']}."
        )
        for line in table(report, {item["id"]: item["name"] for item in result["classes"]}):
            feedback.pushInfo(line)
        return {OUTPUT: result["model"], **figures}


def lines_of_numbers(report: dict[str, Any], field: str) -> list[str]:
    """Lines that tell how well numbers are mapped, beside the random forest."""
    lines = [f"{field} of {report['n_polygons']} polygons; scored on {report['scored_on']}."]
    for name, found in (("The model", report), ("A random forest on the bands alone", report["forest"])):
        if found["rmse"] is not None:
            lines.append(
                f"{name}: RMSE {found['rmse']:.4g}, MAE {found['mae']:.4g}, R² {found['r2']:.2f}, bias {found['bias']:+.3g}"
            )
    return lines


def lines_of_objects(report: dict[str, Any], names: dict[int, str]) -> list[str]:
    """Lines that tell how well objects of each class and of all are found."""
    figures = (("precision", "precision"), ("recall", "recall"), ("F1", "f1"), ("average precision", "ap"))
    lines = [f"{report['n_objects']} objects; scored on {report['scored_on']} ({report['found_by']})."]
    parts = [(names[item["id"]], item["n_objects"], item) for item in report["classes"]]
    for name, count, found in (*parts, ("All", report["n_objects"], report)):
        told = ", ".join(f"{title} {found[key]:.2f}" for title, key in figures)
        lines.append(f"  {name}, {count} objects: {told}")
    low, high = report["intervals"]["f1"]
    return [*lines, f"The true F1 lies between {low:.2f} and {high:.2f} with a chance of 90 %."]


def table(report: dict[str, Any], names: dict[int, str]) -> list[str]:
    """Lines that tell how well each class and all of them are mapped, beside the random forest."""
    if report["miou"] is None:
        return []
    lines = []
    for item in report["classes"]:
        of = f"{names[item['id']]}, {item['n_polygons']} polygon{'s' if item['n_polygons'] > 1 else ''}"
        if item["iou"] is None:
            lines.append(f"  {of}: cannot be judged")
            continue
        figures = ((name, item[name]) for name in ("precision", "recall", "f1", "iou"))
        told = ", ".join(f"{name} {'none' if value is None else f'{value:.2f}'}" for name, value in figures)
        lines.append(f"  {of}: {told}")
    forest = report["forest"]
    return [
        *lines,
        f"All classes: mean IoU {report['miou']:.2f}, mean F1 {report['macro_f1']:.2f}. A random forest on the bands alone, on the "
        f"same polygons: mean IoU {forest['miou']:.2f}, mean F1 {forest['macro_f1']:.2f}.",
    ]


def beside(output: Path, name: str, layer: QgsVectorLayer | None) -> Path:
    """Where a copy of a layer lies beside a result, so that the recipe there can be run again as it is.

    Not where the layer itself lies: it may be the copy of an earlier run, in which the user has gone on drawing.
    """
    own = layer and QgsProviderRegistry.instance().decodeUri("ogr", layer.source()).get("path")
    path = output.with_name(f"{output.name}.{name}.gpkg")
    if own and Path(str(own)).absolute() == path:
        path = output.with_name(f"{output.name}.{name}-2.gpkg")
    return path


def write_labels(
    source: QgsProcessingFeatureSource, path: Path, context: QgsCoordinateTransformContext
) -> None:
    """Write the polygons to the layer "labels" of a GeoPackage, all fields kept.

    Raises:
        QgsProcessingException: it cannot be written.
    """
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = "GPKG"
    options.layerName = "labels"
    # A name of its own for the row number: a field "fid" of the source may repeat or be empty.
    options.layerOptions = ["FID=skysense_fid"]
    writer = QgsVectorFileWriter.create(
        str(path), source.fields(), source.wkbType(), source.sourceCrs(), context, options
    )
    failed = writer.hasError() != QgsVectorFileWriter.WriterError.NoError
    if not failed:
        for feature in source.getFeatures():
            failed = failed or not writer.addFeature(feature, QgsFeatureSink.Flag.FastInsert)
    failed = failed or not writer.flushBuffer()
    message = writer.errorMessage()
    del writer  # closes the file
    if failed:
        raise QgsProcessingException(
            f"The labels cannot be written to {path} ({message}); choose another folder."
        )
