"""Runs a recipe: the one door through which the dock, Processing, the CLI and a cluster start a job."""

from typing import Any

from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe


def run(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Do what the recipe asks for; returns the task's result (see docs/architecture.md, "The worker's protocol").

    Raises:
        InputError: the input is wrong; StorageError: the result cannot be written; Cancelled.
    """
    # torch is imported here, in the job, and not when the worker starts.
    if recipe.task == "finetune":
        from skysense.finetune.train import finetune

        return finetune(recipe, control)
    if recipe.task == "embed":
        from skysense.inference.embed import embed

        return embed(recipe, control)
    if recipe.task == "pretrain":
        from skysense.pretrain.run import run_pretrain

        return run_pretrain(recipe, control)
    from skysense.inference.predict import predict

    return predict(recipe, control)
