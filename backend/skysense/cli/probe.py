"""The command `skysense probe`: its arguments, the model that is probed, and how the scores are shown."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skysense.cli.doing import Commands, Result, showing
from skysense.errors import InputError
from skysense.jobs.control import JobControl

if TYPE_CHECKING:
    from skysense.model.skysense import SkySense
    from skysense.scene.acquisition import Scene


def add(command: Commands) -> None:
    """Add the command."""
    sub = command(
        "probe",
        lambda args: showing(lambda control: _probe(args, control)),
        _show,
        "score a model's frozen features on a labelled scene: linear probe and nearest neighbours",
    )
    sub.add_argument("scene", type=Path, metavar="SCENE", help="scene.json or its folder")
    sub.add_argument("--labels", type=Path, metavar="GPKG", help="polygon layer; default: the scene's labels")
    sub.add_argument("--field", help="class field; default: the scene's")
    sub.add_argument("--layer", help="layer inside the file, when it has several")
    which = sub.add_mutually_exclusive_group()
    which.add_argument(
        "--model",
        type=Path,
        metavar="M",
        help="a backbone, or a trained model whose backbone to use; default: the built-in one",
    )
    which.add_argument(
        "--random-weights", metavar="PRESET", help="an untrained model of this size instead, from --seed"
    )
    sub.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of random weights, and of the draw where labels are more than enough",
    )
    sub.add_argument(
        "--eval-mask",
        type=Path,
        metavar="TIF",
        help="pixels of truth.tif to score; default: the scene's eval_mask.tif",
    )
    sub.add_argument("--fusion-stride", type=int, default=1, choices=(1, 2, 4))
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n")


def _probe(args: argparse.Namespace, control: JobControl) -> Result:
    from skysense.finetune.labels import choose_labels
    from skysense.finetune.probe import probe_scene
    from skysense.scene.scenefile import load_scene

    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}", "skysense probe", "Use a whole number, 0 or more")
    scene = load_scene(args.scene)
    labels = choose_labels(scene, args.labels, args.field, args.layer)
    model, name, warning = _model(args, scene)
    found = probe_scene(
        scene,
        labels,
        model,
        control,
        eval_mask=args.eval_mask,
        seed=args.seed,
        fusion_stride=args.fusion_stride,
    )
    if warning:
        control.note(warning)
    return {"scene": scene.name, "backbone": name, "seed": args.seed, **found}


def _model(args: argparse.Namespace, scene: "Scene") -> tuple["SkySense", dict[str, Any], str]:
    """The model to probe; its name: preset, where its weights come from, digest; what must be told of it, or ""."""
    from skysense.model.backbone import open_backbone
    from skysense.model.device import pick_device
    from skysense.model.presets import seeded_model, state_sha256
    from skysense.scene.sensors import SENSORS

    device = pick_device(args.device)
    if args.random_weights is not None:
        model = seeded_model(args.random_weights, args.seed)
        weights = f"random, seed {args.seed}"
        name = {"preset": args.random_weights, "weights": weights, "sha256": state_sha256(model)}
        return model.to(device), name, ""
    backbone = open_backbone(args.model, device)
    modalities = [modality for modality in SENSORS if scene.modality(modality)]
    return backbone.model, backbone.header(), backbone.warning_for(modalities)


def _show(result: Result) -> str:
    linear, knn, backbone = result["linear"], result["knn"], result["backbone"]
    features = ", ".join(f"{name} {dims}" for name, dims in result["features"].items())
    lines = [
        f"{result['scene']}: {backbone['preset']}, {backbone['weights']}; features {features}",
        f"{result['n_train']} labelled pixels, {result['n_eval']} scored ({result['scored_on']})",
        f"linear  {_means(linear)}  (C {linear['C']:.2g})",
        f"kNN     {_means(knn)}  (k {knn['k']}, {knn['n_eval']} pixels)",
    ]
    lines += [
        f"  {name:<24} IoU linear {item['iou']:.3f}  kNN {knn['per_class'][name]['iou']:.3f}"
        for name, item in linear["per_class"].items()
        if name in knn["per_class"]
    ]
    return "\n".join(lines)


def _means(scores: Result) -> str:
    return f"OA {scores['oa']:.4f}  macro F1 {scores['macro_f1']:.4f}  mIoU {scores['miou']:.4f}"
