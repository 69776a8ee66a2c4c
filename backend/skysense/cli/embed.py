"""The command `skysense embed`: its arguments, and the recipe that they make."""

from skysense.cli.doing import Commands, Result, add_running, add_sharing, run, sharing_of
from skysense.cli.scene import add_arguments, recipe_of


def add(command: Commands) -> None:
    """Add the command."""
    sub = command(
        "embed",
        lambda args: run(recipe_of(args, "embed", components=args.pca, **sharing_of(args))),
        _show,
        "write a model's frozen features of a scene as a raster",
    )
    add_arguments(sub, "E.tif")
    sub.add_argument(
        "--pca",
        type=int,
        default=0,
        metavar="N",
        help="write the first N principal components beside it (E_pca.tif), up to 64; of 3 and more also a picture (E_pca_rgb.tif)",
    )
    add_sharing(sub)
    add_running(sub)


def _show(result: Result) -> str:
    features = ", ".join(f"{name} {dims}" for name, dims in result["features"].items())
    size = f"{result['width']} x {result['height']} pixels of {result['gsd']:g}"
    paths = [result[key] for key in ("embedding", "pca", "pca_rgb") if key in result]
    return (
        "\n".join(paths) + f"\n{sum(result['features'].values())} features a pixel ({features}), {size}\n"
        f"{result['seconds']:.1f} s"
    )
