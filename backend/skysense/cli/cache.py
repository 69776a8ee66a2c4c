"""`skysense cache`: what is kept of tiles' features, and how to be rid of it."""

import argparse
import contextlib

from skysense.cli.doing import Commands, Result


def add(command: Commands) -> None:
    """Add the command."""
    sub = command("cache", _cache, _show, "features that are kept to make the next training or map faster")
    sub.add_argument("--clear", action="store_true", help="remove them all")


def _cache(args: argparse.Namespace) -> Result:
    from skysense.finetune.store import cache_folder, cache_limit, kept_files

    folder, limit = cache_folder(), cache_limit()
    if args.clear:
        for _, _, path in kept_files(folder):
            with contextlib.suppress(OSError):  # in use, or gone already
                path.unlink()
    files = kept_files(folder)
    return {
        "folder": str(folder),
        "tiles": len(files),
        "bytes": sum(size for _, size, _ in files),
        "limit": limit,
    }


def _show(result: Result) -> str:
    return f"{result['tiles']:,} tiles, {result['bytes'] / 1e9:.2f} of {result['limit'] / 1e9:.0f} GB, in {result['folder']}"
