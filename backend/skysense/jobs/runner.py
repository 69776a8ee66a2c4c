"""Runs a recipe: the one door through which the dock, Processing, the CLI and a cluster start a job."""

from typing import Any

from skysense.errors import InputError
from skysense.jobs.control import JobControl
from skysense.jobs.outputs import check_output
from skysense.jobs.recipe import TARGETS, Recipe
from skysense.jobs.used import unused


def run(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Do what the recipe asks for; returns the task's result (see docs/architecture.md, "The worker's protocol").

    Raises:
        InputError: the input is wrong; StorageError: the result cannot be written; Cancelled.
    """
    check_output(recipe)
    target = _target(recipe)
    _check_options(recipe, target)
    if note := unused(recipe.task, target, recipe.options):
        control.note(note)
    # torch is imported here, in the job, and not when the worker starts.
    if recipe.task == "finetune":
        if target == "values":
            from skysense.finetune.train_values import finetune_values

            return finetune_values(recipe, control)
        if target == "polygons":
            from skysense.finetune.train_polygons import finetune_polygons

            return finetune_polygons(recipe, control)
        if target == "objects":
            from skysense.finetune.train_objects import finetune_objects

            return finetune_objects(recipe, control)
        from skysense.finetune.train import finetune

        return finetune(recipe, control)
    if recipe.task == "change":
        from skysense.inference.change import find_changes

        return find_changes(recipe, control)
    if recipe.task == "embed":
        from skysense.inference.embed import embed

        return embed(recipe, control)
    if recipe.task == "pretrain":
        from skysense.pretrain.run import run_pretrain

        return run_pretrain(recipe, control)
    if target == "values":
        from skysense.inference.predict_values import predict_values

        return predict_values(recipe, control)
    if target == "polygons":
        from skysense.inference.predict_polygons import predict_polygons

        return predict_polygons(recipe, control)
    if target == "objects":
        from skysense.inference.predict_objects import predict_objects

        return predict_objects(recipe, control)
    from skysense.inference.predict import predict

    return predict(recipe, control)


def _check_options(recipe: Recipe, target: str) -> None:
    """Raises InputError where options contradict each other, or ask a job for what it does not give."""
    options = recipe.options
    if options.scheduler is not None and options.workers > 1:
        raise InputError(
            "workers are processes of this machine, a scheduler has its own",
            "recipe",
            "Leave one of them out",
        )
    if options.at is not None and recipe.task != "predict":
        raise InputError(
            "a date to map is given, but nothing is mapped",
            "recipe",
            'Leave "at" out: it is for the task predict',
        )
    if recipe.task == "finetune":
        _check_training(recipe)
    if recipe.task == "predict":
        _check_mapping(recipe, target)


def _check_training(recipe: Recipe) -> None:
    """Raises InputError where a training is given what its target has no use for."""
    target = recipe.options.target
    if recipe.options.split is not None and target != "changes":
        raise InputError(
            "a date splits the scene, but the labels do not teach changes",
            "recipe",
            "Use the target changes, or leave the date out",
        )
    if (recipe.labels or {}).get("areas") and target != "objects":
        raise InputError(
            "areas in which all objects are drawn are given, but the labels do not teach objects",
            "recipe",
            "Use the target objects, or leave the areas out",
        )


def _check_mapping(recipe: Recipe, target: str) -> None:
    """Raises InputError where a mapping is asked for what a model of this target does not give."""
    options, model = recipe.options, "the model" if recipe.model is None else recipe.model.name
    if options.split is not None and target != "changes":
        raise InputError(
            "looks at all dates together, and a date that splits them is given",
            model,
            "Train a model for changes (--target changes), or leave the date out",
        )
    if options.polygons is not None and target != "polygons":
        raise InputError(
            "maps every pixel, and polygons are given to classify",
            model,
            "Train a model for whole polygons (--target polygons), or leave the polygons out",
        )
    if options.at is not None and not _of_moments(recipe):
        raise InputError(
            "looks at all dates together, and a date to map is given",
            model,
            "Train a model on labels with dates (--date-field), or leave the date out",
        )
    if options.products and target not in ("classes", "changes"):
        raise InputError(
            f"gives no {options.products[0]}: it was not trained on classes of pixels",
            model,
            "Leave the products out",
        )
    if target not in ("classes", "changes", "values") and (
        options.within or options.blend or options.scheduler or options.workers > 1
    ):
        raise InputError(
            "gives no map of pixels, so it cannot be made inside of polygons, blended or by several processes",
            model,
            "Leave these options out",
        )


def _of_moments(recipe: Recipe) -> bool:
    """Whether the model to map with learned from labels of dates (see `finetune.moments`)."""
    from skysense.model.modelfile import read_header

    return recipe.model is not None and bool(read_header(recipe.model).get("inputs", {}).get("moment"))


def _target(recipe: Recipe) -> str:
    """What labels teach, or the model to map with was trained for (see `recipe.TARGETS`; models of before there were targets:
    classes); "" of a task that has no target.

    Raises:
        InputError: the model cannot be read, or this version does not know what it is for.
    """
    from skysense.model.modelfile import read_header

    if recipe.task != "predict":
        return recipe.options.target if recipe.task == "finetune" else ""
    if recipe.model is None:
        return "classes"  # whose mapping says that a model is missing
    target = str(read_header(recipe.model).get("target", "classes"))
    if target not in TARGETS:
        raise InputError(
            f"was trained for {target!r}, which this version does not know",
            recipe.model.name,
            "Update SkySense",
        )
    return target
