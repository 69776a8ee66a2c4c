"""A short training on a small synthetic scene, as a job of its own process: `python deep_scene.py SCENE OUT [resume]`.

Its plan is cut to a few steps; what is trained, and how, is as shipped.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from skysense.finetune.deep import plan
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import parse_recipe
from skysense.jobs.runner import run

STEPS, EVERY = 4, 2


def shorten(steps=STEPS, every=EVERY):
    """From now on every training of this process takes a few steps; the plans of before."""
    before = dict(plan.PLANS)
    for mode, own in before.items():
        rates = replace(own.rates, steps=steps, warmup=0.3)
        plan.PLANS[mode] = replace(own, rates=rates, untold=3, every=every)
    return before


def train(scene, out, mode="lora", control=None, labels=None, **options):
    """Train; the result, and the events in its "events"."""
    events = []
    data = {
        "skysense": 1,
        "task": "finetune",
        "scene": str(scene),
        "output": str(out),
        "labels": labels,
        "options": {"device": "cpu", "mode": mode, **options},
    }
    result = run(parse_recipe(data, Path.cwd()), control or JobControl(events.append))
    return {**result, "events": events}


if __name__ == "__main__":
    torch.set_num_threads(1)
    shorten()
    train(sys.argv[1], sys.argv[2], resume="resume" in sys.argv)
