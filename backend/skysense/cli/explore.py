"""The commands `skysense suggest`, `similar` and `cluster`: where to draw next, and what can be seen without labels."""

import argparse
from pathlib import Path

from skysense.cli.doing import Commands, Result, showing
from skysense.jobs.control import JobControl


def add(command: Commands) -> None:
    """Add the commands."""
    sub = command(
        "suggest",
        lambda args: showing(lambda control: _suggest(args, control)),
        _show_suggestions,
        "places to draw next: where a map is unsure, or unlike anything labelled",
    )
    sub.add_argument("map", type=Path, metavar="MAP")
    sub.add_argument("--out", type=Path, required=True, metavar="P.gpkg")
    sub.add_argument("--points", type=int, default=20, metavar="N", help="at most; default: 20")
    sub.add_argument("--embedding", type=Path, metavar="E.tif", help="features of the scene (skysense embed)")
    sub.add_argument("--labels", type=Path, metavar="GPKG", help="the polygons or points drawn so far")
    sub.add_argument("--layer", help="layer inside the labels' file, when it has several")

    sub = command(
        "similar",
        lambda args: showing(lambda control: _similar(args, control)),
        lambda result: f"{result['similarity']}\ncompared with {result['places']} places",
        "how much every pixel of an embedding looks like places that you point at",
    )
    sub.add_argument("embedding", type=Path, metavar="E.tif")
    sub.add_argument("--out", type=Path, required=True, metavar="S.tif")
    sub.add_argument("--at", type=float, nargs=2, action="append", metavar=("X", "Y"), help="may be repeated")
    sub.add_argument("--at-crs", metavar="EPSG:n", help="CRS of --at; default: the embedding's")
    sub.add_argument("--labels", type=Path, metavar="GPKG", help="polygons or points to compare with")
    sub.add_argument("--layer", help="layer inside the labels' file, when it has several")

    sub = command(
        "cluster",
        lambda args: showing(lambda control: _cluster(args, control)),
        _show_clusters,
        "a map without labels: the clusters of an embedding",
    )
    sub.add_argument("embedding", type=Path, metavar="E.tif")
    sub.add_argument("--out", type=Path, required=True, metavar="C.tif")
    sub.add_argument("--classes", type=int, required=True, metavar="K", help="clusters, 2 to 255")
    sub.add_argument("--seed", type=int, default=0)


def _similar(args: argparse.Namespace, control: JobControl) -> Result:
    from skysense.inference.similarity import similar

    return similar(
        args.embedding,
        args.out,
        control,
        at=[(x, y) for x, y in args.at or []],
        at_crs=args.at_crs,
        labels=args.labels,
        layer=args.layer,
    )


def _cluster(args: argparse.Namespace, control: JobControl) -> Result:
    from skysense.inference.clusters import cluster

    return cluster(args.embedding, args.out, control, k=args.classes, seed=args.seed)


def _show_clusters(result: Result) -> str:
    lines = [f"{item['name']:<12}{item['pixels']:>14,} pixels" for item in result["classes"]]
    return "\n".join([result["map"], *lines])


def _suggest(args: argparse.Namespace, control: JobControl) -> Result:
    from skysense.inference.suggest import suggest

    return suggest(
        args.map,
        args.out,
        control,
        points=args.points,
        embedding=args.embedding,
        labels=args.labels,
        layer=args.layer,
    )


def _show_suggestions(result: Result) -> str:
    lines = [
        f"{item['rank']:>4} {item['x']:>14.2f} {item['y']:>14.2f}  {item['why']}" for item in result["points"]
    ]
    return "\n".join([result["suggestions"], *lines])
