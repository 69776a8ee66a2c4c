"""Which options each job uses. Recipes are carried from job to job, so others are named in a note and not refused."""

from dataclasses import fields

from skysense.jobs.recipe import Options

# `resume` counts as used by all: what begins anew in seconds, or goes on by itself, does what it asks for.
_MODEL = {"device", "resume", "precision", "dates", "verify", "memory_gb"}
_FUSED = _MODEL | {"fusion_stride"}  # objects are seen in HR alone, which is not fused
_TRAINING = {"target", "standalone", "report"}
_JUDGED = {"judged", "seed"}
_CLASSES = {"colors", "ids"}
_RASTER = _FUSED | {"area", "area_crs", "workers", "scheduler"}
# The panel says with every mapping where the user looks, though what has no chunks begins where it likes.
_PLACE = {"area", "area_crs", "start"}
_PIXELS = _RASTER | _PLACE | {"within", "within_layer", "blend"}

#: By task, and what the labels teach or the model was trained for ("" where a task has no target): what the job is called, and the
#: names of the options that it uses. What it refuses to be given counts as not used.
USED: dict[tuple[str, str], tuple[str, set[str]]] = {
    ("finetune", "classes"): ("Training for classes", _FUSED | _TRAINING | _JUDGED | _CLASSES | {"mode"}),
    ("finetune", "changes"): ("Training for changes", _FUSED | _TRAINING | _JUDGED | _CLASSES | {"split"}),
    ("finetune", "values"): ("Training for numbers", _FUSED | _TRAINING | _JUDGED),
    ("finetune", "polygons"): ("Training for whole polygons", _FUSED | _TRAINING | _CLASSES),
    ("finetune", "objects"): ("Training for objects", _MODEL | _TRAINING | _CLASSES | {"seed"}),
    ("predict", "classes"): ("Mapping classes", _PIXELS | {"products", "at"}),
    ("predict", "changes"): ("Mapping changes", _PIXELS | {"products", "split"}),
    ("predict", "values"): ("Mapping numbers", _PIXELS),
    ("predict", "polygons"): ("Classifying polygons", _FUSED | _PLACE | {"polygons", "polygons_layer"}),
    ("predict", "objects"): ("Finding objects", _MODEL | _PLACE),
    ("embed", ""): ("Embedding", _RASTER | {"components"}),
    ("change", ""): ("Comparing two periods", _RASTER | {"split"}),
    ("pretrain", ""): ("Pretraining", {"device", "resume", "seed"}),
}


def unused(task: str, target: str, options: Options) -> str | None:
    """A sentence that names the options that are set and that the job does not use; None: there are none.

    Args:
        task, target: see `USED`.
    """
    title, used = USED[task, target]
    default = Options()
    names = [
        item.name
        for item in fields(Options)
        if item.name not in used and getattr(options, item.name) != getattr(default, item.name)
    ]
    return f"{title} does not use: {', '.join(names)}." if names else None
