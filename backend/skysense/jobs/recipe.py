"""The recipe (contract C4): one JSON file that the dock, Processing, the CLI and a cluster all run.

Standard library only, so that it can be read and checked without torch.
"""

import datetime
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from skysense.errors import InputError
from skysense.jobs.pretrain_options import PretrainOptions, option_names, parse_pretrain_options
from skysense.scene.selection import parse_rule

if TYPE_CHECKING:
    from skysense.scene.acquisition import Scene

Task = Literal["finetune", "predict", "embed", "change", "pretrain"]
FORMAT = 1
#: What labels teach, and what a map of the model then shows.
TARGETS = {
    "classes": "the class of every pixel",
    "values": "a number for every pixel",
    "polygons": "the class of every polygon as a whole, such as a parcel",
    "changes": "what changed at every pixel between two periods, as a class",
    "objects": "where objects are in high-resolution imagery, as boxes or points",
}
#: What a map of classes may have beside classes and confidence.
PRODUCTS = {
    "probabilities": "the probability of every class in %, a band each",
    "entropy": "how undecided the probabilities are, 0 (one class is certain) to 100 (all alike)",
}
#: Principal components that may lie beside an embedding.
MAX_COMPONENTS = 64
#: What a training trains, and what that costs on a usual computer.
MODES = {
    "head": "a head on frozen features: seconds",
    "decoder": "a head, and a small network beside it that sees what lies around a pixel: minutes",
    "lora": "small additions to the model, and a head: minutes",
    "full": "all of the model, and a head: minutes with the built-in model, hours with a large one, which needs a GPU",
}


@dataclass(frozen=True)
class Options:
    """Settings that change the result, except `device` and `resume`.

    Attributes:
        device: "auto", "cpu", "cuda" or "cuda:n".
        seed: of the head's training.
        target: what the labels teach: see `TARGETS`.
        mode: what is trained: see `MODES`.
        fusion_stride: 1, 2 or 4: the fusion transformer runs on every, every 2nd, every 4th 10 m pixel.
        precision: "float32", or "bfloat16": several times faster where the processor or GPU computes in it, a
            little coarser. None: in training what suits the device (`model.device.usual_precision`), in mapping what the
            model was trained with.
        area: (xmin, ymin, xmax, ymax) to map, in `area_crs`; None = the whole scene.
        area_crs: "EPSG:n" or WKT.
        colors: class name -> "#rrggbb", where the user has chosen colours.
        ids: class name -> the id that it had in an earlier training, and keeps (see `finetune.classes.assign_ids`).
        resume: go on with the finished chunks of an earlier, interrupted run.
        standalone: the fine-tuned file holds its backbone too, where that one's licence allows it.
        report: the folder that a training writes its report to; None = none.
        judged: False: a first look, in half the time: no figures of how good the model is, and no report.
        split: "YYYY-MM-DD", the first day of the second of two periods that are compared.
        polygons: the vector file with the polygons that a model of polygons classifies.
        polygons_layer: the layer in it, where it has several.
        products: of a class map: see `PRODUCTS`.
        within: a vector file with the polygons that a map is made inside of; None: all of the area.
        within_layer: the layer in it, where it has several.
        blend: neighbouring tiles of a map pass into each other, instead of each keeping to its core.
        start: (x, y) in `area_crs`: where a map begins; None: at the top.
        workers: processes that make a raster (map, embedding, changes) together.
        scheduler: of a Dask cluster whose workers do, "tcp://host:port".
        memory_gb: of a GPU's memory that may be used; None: all that is free.
        at: "YYYY-MM-DD", the day that a model of labels with dates maps; None: the newest.
        dates: which dates of the Sentinel series are used: "all", "even:N" (N of them, evenly over the series' time) or "clearest:N"
            (N with the largest share of cloud-free pixels; of Sentinel-1 evenly): see `skysense.scene.selection`.
        components: principal components, 0 (none) to 64, to write beside an embedding; of three or more also a picture.
        verify: read the imagery's files in whole to know whether kept features are theirs, not their ends and times alone.
    """

    device: str = "auto"
    seed: int = 0
    target: str = "classes"
    mode: str = "head"
    fusion_stride: int = 1
    precision: str | None = None
    area: tuple[float, float, float, float] | None = None
    area_crs: str | None = None
    colors: dict[str, str] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    resume: bool = False
    standalone: bool = False
    report: str | None = None
    judged: bool = True
    split: str | None = None
    polygons: str | None = None
    polygons_layer: str | None = None
    verify: bool = False
    products: tuple[str, ...] = ()
    within: str | None = None
    within_layer: str | None = None
    blend: bool = False
    start: tuple[float, float] | None = None
    workers: int = 1
    scheduler: str | None = None
    memory_gb: float | None = None
    dates: str = "all"
    at: str | None = None
    components: int = 0


@dataclass(frozen=True)
class Recipe:
    """One job.

    Attributes:
        task: "finetune", "predict", "embed", "change" or "pretrain".
        scene: a scene file's path, or the scene's JSON with paths relative to `root`; None in a pretraining.
        root: the folder against which relative paths count.
        output: the model file, map or raster of features to write; of a pretraining the folder.
        labels: {"path", "field", "layer"}, and "date_field" where polygons are true on a day; None = the scene's own labels. For
            objects also {"areas", "areas_layer"}: polygons inside of which all objects are drawn.
        model: a model file (to train on or to embed with: a backbone file, or a fine-tuned one for its backbone);
            None = the built-in backbone. Of a pretraining: the backbone file to go on from; None: fresh weights.
        data: of a pretraining: folders or scene files, or scenes' JSON with paths relative to `root`.
        pretrain: of a pretraining: its own options.
        extra: unknown keys, kept.
    """

    task: Task
    scene: str | dict[str, Any] | None
    root: Path
    output: Path
    labels: dict[str, Any] | None = None
    model: Path | None = None
    options: Options = Options()
    data: tuple[str | dict[str, Any], ...] = ()
    pretrain: PretrainOptions | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def open_scene(self, note: Callable[[str], None] | None = None, every: bool = False) -> "Scene":
        """The scene, with what its file leaves open found out from the imagery, and of its series the dates that are used.

        Args:
            note: is told which these are, where some are left out.
            every: single days are looked for among all dates, whatever the recipe asks for.

        Raises:
            InputError: it cannot be used as it is.
        """
        from skysense.scene.scenefile import load_scene, parse_scene

        assert self.scene is not None
        scene = (
            load_scene(Path(self.scene))
            if isinstance(self.scene, str)
            else parse_scene(self.scene, self.root)
        )
        rule = parse_rule(self.options.dates)
        if rule.kind == "all":
            return scene
        if every:
            if note is not None:
                note("The choice of dates was left aside: single days are looked for among all images.")
            return scene
        from skysense.raster.selection import select_dates

        return select_dates(scene, rule, note)

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON, options at their default left out; `parse_recipe` gives an equal one back."""
        default = Options()
        options = {
            item.name: getattr(self.options, item.name)
            for item in fields(Options)
            if getattr(self.options, item.name) != getattr(default, item.name)
        }
        data: dict[str, Any] = {"skysense": FORMAT, "task": self.task}
        if self.pretrain is not None:
            data["data"] = list(self.data)
            options |= self.pretrain.to_json()
        else:
            data["scene"] = self.scene
        if self.labels is not None:
            data["labels"] = self.labels
        if self.model is not None:
            data["model"] = str(self.model)
        return {**data, "output": str(self.output), "options": options, **self.extra}


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file; relative paths count from its folder.

    Raises:
        InputError: no such file, not JSON, or not a recipe.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", str(path), "Give the path of a recipe (JSON)"
        ) from None
    try:
        data = json.loads(content)
    except ValueError as error:  # wrong JSON, or bytes that are no text
        raise InputError(
            f"is not JSON ({error})", str(path), "Correct the file or save the recipe anew"
        ) from None
    return parse_recipe(data, path.parent)


def parse_recipe(data: Any, root: Path) -> Recipe:
    """Check a recipe's JSON and resolve its paths against `root`: the recipe that is written beside the result has them absolute.

    Raises:
        InputError: naming the key that is missing or wrong.
    """
    root = Path(root).absolute()

    def wrong(what: str, fix: str) -> InputError:
        return InputError(what, "recipe", fix)

    if not isinstance(data, dict) or "skysense" not in data:
        raise wrong("is not a SkySense recipe", 'A recipe is a JSON object with "skysense": 1')
    if data["skysense"] != FORMAT:
        raise wrong(f"has format {data['skysense']!r}, this version reads {FORMAT}", "Update SkySense")
    if data.get("task") not in get_args(Task):
        raise wrong(f"asks for the task {data.get('task')!r}", f"Use one of {', '.join(get_args(Task))}")
    pretraining = data["task"] == "pretrain"
    for key in ("data" if pretraining else "scene", "output"):
        if not data.get(key):
            raise wrong(f'has no "{key}"', f'Add "{key}" to it')
    labels, model = data.get("labels"), data.get("model")
    for key, value in (("output", data["output"]), ("model", model)):
        if value is not None and not isinstance(value, str):
            raise wrong(f'has {value!r} as "{key}"', "Write a path")
    options = {} if data.get("options") is None else data["options"]
    if not isinstance(options, dict):
        raise wrong('"options" is not an object', 'Write {"seed": 0, ...}')
    known = (
        {"device", "seed", "resume"} | option_names() if pretraining else {f.name for f in fields(Options)}
    )
    unknown = sorted(set(options) - known)
    if unknown:
        raise wrong(f"unknown option {unknown[0]!r}", f"Known are {', '.join(sorted(known))}")
    if labels is not None:
        if not isinstance(labels, dict) or not labels.get("path"):
            raise wrong('has "labels" without a path', 'Write {"path": ..., "field": ...}')
        for key in ("path", "areas"):
            if not isinstance(labels.get(key), str | None):
                raise wrong(f'has {labels[key]!r} as the "{key}" of the labels', "Write a path")
        labels = {**labels, "path": str(root / labels["path"])}
        if labels.get("areas"):
            labels["areas"] = str(root / labels["areas"])
        taught = options.get("target", "classes"), options.get("mode", "head")
        if labels.get("date_field") and taught != ("classes", "head"):
            raise wrong(
                "names a date field, but only classes of pixels are learned date by date, and only by a head",
                'Use the target "classes" and the mode "head", or leave the date field out',
            )
    used = {"skysense", "task", "data" if pretraining else "scene", "labels", "model", "output", "options"}
    own = option_names() if pretraining else set()
    return Recipe(
        task=data["task"],
        scene=None if pretraining else _place(data["scene"], root, "scene"),
        root=root,
        output=root / data["output"],
        labels=labels,
        model=None if model is None else root / model,
        options=_parse_options({name: value for name, value in options.items() if name not in own}, root),
        data=_places(data["data"], root) if pretraining else (),
        pretrain=parse_pretrain_options({name: value for name, value in options.items() if name in own}, root)
        if pretraining
        else None,
        extra={key: value for key, value in data.items() if key not in used},
    )


def _place(scene: Any, root: Path, key: str) -> str | dict[str, Any]:
    if not isinstance(scene, str | dict):
        raise InputError(
            f'has a "{key}" that is neither a path nor an object',
            "recipe",
            "Give a scene.json or its content",
        )
    if isinstance(scene, str):
        return str(root / scene)
    from skysense.scene.scenefile import with_absolute_paths

    return with_absolute_paths(scene, root)


def _places(data: Any, root: Path) -> tuple[str | dict[str, Any], ...]:
    if not isinstance(data, list):
        raise InputError('"data" is not a list', "recipe", 'Write ["folder", "scene.json", ...]')
    return tuple(_place(item, root, "data") for item in data)


def parse_day(text: Any, name: str) -> str:
    """A day as "YYYY-MM-DD".

    Args:
        name: the option that holds it.

    Raises:
        InputError: it is none.
    """
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except (TypeError, ValueError):
        raise InputError(f"{name} is {text!r}", "recipe", "Write a date as YYYY-MM-DD") from None


#: Options that are text (those of `_NEEDED` always, others if they are given), and those that are true or false.
_TEXTS = {
    "device", "target", "mode", "precision", "area_crs", "report", "split", "polygons", "polygons_layer", "within", "within_layer",
    "scheduler", "dates", "at",
}  # fmt: skip
_NEEDED = {"device", "target", "mode", "dates"}
_SWITCHES = {"resume", "standalone", "judged", "verify", "blend"}


def _parse_options(data: dict[str, Any], root: Path) -> Options:
    values = dict(data)
    for name, value in values.items():
        if name in _TEXTS and not isinstance(value, str) and (value is not None or name in _NEEDED):
            raise InputError(f"{name} is {value!r}", "recipe", "Write it in quotes")
        if name in _SWITCHES and not isinstance(value, bool):
            raise InputError(f"{name} is {value!r}", "recipe", "Use true or false")
        if name in ("fusion_stride", "workers", "seed") and isinstance(value, bool):
            raise InputError(f"{name} is {value!r}", "recipe", "Use a number")
    colors = values.get("colors", {})
    if not isinstance(colors, dict) or not all(
        isinstance(color, str) and re.fullmatch("#[0-9a-fA-F]{6}", color) for color in colors.values()
    ):
        raise InputError(f"colors is {colors!r}", "recipe", 'Write {"class": "#rrggbb", ...}')
    ids = values.get("ids", {})
    if (
        not isinstance(ids, dict)
        or not all(type(number) is int and 1 <= number <= 255 for number in ids.values())
        or len(set(ids.values())) < len(ids)
    ):
        raise InputError(
            f"ids is {ids!r}", "recipe", 'Write {"class": 1, ...}, each number from 1 to 255 once'
        )
    if values.get("area") is not None:
        try:
            xmin, ymin, xmax, ymax = (float(value) for value in values["area"])
        except (TypeError, ValueError):
            raise InputError(
                '"area" must be four numbers', "recipe", "Write [xmin, ymin, xmax, ymax]"
            ) from None
        if not (xmin < xmax and ymin < ymax):
            raise InputError('"area" is empty', "recipe", "Write [xmin, ymin, xmax, ymax] with min < max")
        values["area"] = (xmin, ymin, xmax, ymax)
    if values.get("fusion_stride", 1) not in (1, 2, 4):
        raise InputError(f"fusion_stride is {values['fusion_stride']!r}", "recipe", "Use 1, 2 or 4")
    if values.get("precision") not in (None, "float32", "bfloat16"):
        raise InputError(f"precision is {values['precision']!r}", "recipe", "Use float32 or bfloat16")
    if values.get("target", "classes") not in TARGETS:
        raise InputError(f"target is {values['target']!r}", "recipe", f"Use one of {', '.join(TARGETS)}")
    if values.get("mode", "head") not in MODES:
        raise InputError(f"mode is {values['mode']!r}", "recipe", f"Use one of {', '.join(MODES)}")
    if values.get("mode", "head") != "head" and values.get("target", "classes") != "classes":
        raise InputError(
            f"the mode {values['mode']!r} learns classes only",
            "recipe",
            'Use the mode "head" for other targets',
        )
    if values.get("judged") is False and values.get("report") is not None:
        raise InputError("a report is asked for, and judged is false", "recipe", "Leave one of them out")
    if values.get("report") is not None:
        if not values["report"]:
            raise InputError(f"report is {values['report']!r}", "recipe", "Write the path of a folder")
        values["report"] = str(root / values["report"])
    if values.get("within") is not None:
        if not values["within"]:
            raise InputError(f"within is {values['within']!r}", "recipe", "Write the path of a vector file")
        values["within"] = str(root / values["within"])
    products = values.get("products", ())
    named = isinstance(products, list | tuple) and all(isinstance(name, str) for name in products)
    if not named or not set(products) <= PRODUCTS.keys():
        raise InputError(
            f"products is {products!r}", "recipe", f"Write a list of some of {', '.join(PRODUCTS)}"
        )
    values["products"] = tuple(products)
    if values.get("start") is not None:
        try:
            x, y = (float(value) for value in values["start"])
        except (TypeError, ValueError):
            raise InputError('"start" must be two numbers', "recipe", "Write [x, y]") from None
        values["start"] = (x, y)
    if not isinstance(values.get("workers", 1), int) or not 1 <= values.get("workers", 1) <= 256:
        raise InputError(
            f"workers is {values['workers']!r}", "recipe", "Use a number of processes, 1 or more"
        )
    components = values.get("components", 0)
    if type(components) is not int or not 0 <= components <= MAX_COMPONENTS:
        raise InputError(
            f"components is {components!r}",
            "recipe",
            f"Use a whole number of principal components from 0 (none) to {MAX_COMPONENTS}",
        )
    if values.get("memory_gb") is not None and not (
        isinstance(values["memory_gb"], int | float) and values["memory_gb"] > 0
    ):
        raise InputError(f"memory_gb is {values['memory_gb']!r}", "recipe", "Use a number of GB above 0")
    parse_rule(values.get("dates", "all"))
    if values.get("split") is not None:
        values["split"] = parse_day(values["split"], "split")
    if values.get("at") is not None:
        values["at"] = parse_day(values["at"], "at")
    if values.get("polygons") is not None:
        if not values["polygons"]:
            raise InputError(
                f"polygons is {values['polygons']!r}", "recipe", "Write the path of a vector file"
            )
        values["polygons"] = str(root / values["polygons"])
    if not isinstance(values.get("seed", 0), int) or values.get("seed", 0) < 0:
        raise InputError(f"seed is {values['seed']!r}", "recipe", "Use a whole number, 0 or more")
    return Options(**values)
