"""A small synthetic scene, its parts, and jobs on it."""

import json
from pathlib import Path

from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run


def job(task, scene, output, control=None, **more):
    """Run one recipe; the events go to the result's "events"."""
    events = []
    result = run(recipe_of(task, scene, output, **more), control or JobControl(events.append))
    return {**result, "events": events}


def recipe_of(task, scene, output, **more):
    data = {"skysense": 1, "task": task, "scene": str(scene), "output": str(output), **more}
    data["options"] = {"device": "cpu", **data.get("options", {})}
    return parse_recipe(data, Path.cwd())


def part(scene: Path, folder: Path, keep) -> Path:
    """A copy of a scene file with only some of its acquisitions (absolute paths)."""
    data = json.loads(scene.read_text())
    rows = [dict(row, path=str(scene.parent / row["path"])) for row in data["acquisitions"] if keep(row)]
    labels = dict(data["labels"], path=str(scene.parent / data["labels"]["path"]))
    folder.mkdir(exist_ok=True)
    (folder / "classes.json").write_bytes((scene.parent / "classes.json").read_bytes())
    out = folder / "scene.json"
    out.write_text(json.dumps({"version": 1, "name": folder.name, "acquisitions": rows, "labels": labels}))
    return out
