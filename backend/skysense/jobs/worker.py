"""The worker: a long-lived process that the plugin talks to over stdin and stdout.

`hello`, `describe`, `validate` and `hub` never import torch, so the worker is up at once and works before torch
is installed. Jobs run one at a time in their own thread, downloads each in theirs; everything else is answered
meanwhile.
"""

import contextlib
import importlib.util
import json
import logging
import os
import platform
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import skysense
from skysense.errors import InputError
from skysense.heap import give_back
from skysense.jobs.control import JobControl
from skysense.jobs.protocol import VERSION, Channel, error_json

log = logging.getLogger(__name__)

_Work = Callable[[dict[str, Any], JobControl], dict[str, Any]]
_Job = tuple[_Work, Any, dict[str, Any], JobControl]


class Worker:
    """Answers requests until its input closes.

    Args:
        requests: the pipe from the plugin.
        replies: the pipe to the plugin.
    """

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._channel = Channel(replies)
        self._jobs: dict[Any, JobControl] = {}
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()

    def serve(self) -> None:
        """Read requests until stdin closes or "shutdown"; a running job is then cancelled."""
        runner = threading.Thread(target=self._run_jobs, name="jobs", daemon=True)
        runner.start()
        for line in self._requests:
            if not line.strip():
                continue
            try:
                message = json.loads(line)
                request, method, params = message["id"], message["method"], message.get("params") or {}
            except (ValueError, KeyError, TypeError):
                self._channel.error(
                    None, error_json(InputError("a request is not a JSON object with id and method"))
                )
                continue
            if method == "shutdown":
                self._channel.result(request, {})
                break
            self._answer(request, method, params)
        for control in list(self._jobs.values()):
            control.cancel()
        self._queue.put(None)
        # Whoever closed our stdin does not wait for us: a job that cannot be interrupted must not keep us alive.
        runner.join(timeout=5)

    def _answer(self, request: Any, method: str, params: dict[str, Any]) -> None:
        try:
            if method in _JOBS:
                self._queue.put((_JOBS[method], request, params, self._control(request)))
            elif method in _ASIDE:
                # A model may be downloaded while another one is trained.
                job = (_ASIDE[method], request, params, self._control(request))
                threading.Thread(target=self._do, args=job, daemon=True).start()
            elif method in _STEERING:
                steer, past = _STEERING[method]
                running = self._jobs.get(params.get("job"))
                if running:
                    steer(running)
                self._channel.result(request, {past: running is not None})
            else:
                handler = _ANSWERS.get(method)
                if handler is None:
                    raise InputError(f"unknown method {method!r}", "worker", "Update SkySense on both sides")
                self._channel.result(request, handler(params))
        except Exception as error:  # the edge: every failure becomes a sentence, the worker lives on
            self._fail(request, error)

    def _control(self, request: Any) -> JobControl:
        control = JobControl(lambda event: self._channel.send({"id": request, **event}))
        self._jobs[request] = control
        return control

    def _run_jobs(self) -> None:
        while (job := self._queue.get()) is not None:
            self._do(*job)
            give_back()

    def _do(self, work: _Work, request: Any, params: dict[str, Any], control: JobControl) -> None:
        try:
            control.check()
            self._channel.result(request, work(params, control))
        except Exception as error:
            self._fail(request, error)
        finally:
            self._jobs.pop(request, None)

    def _fail(self, request: Any, error: Exception) -> None:
        known = error_json(error)
        if known["kind"] == "internal":
            log.error("request %s failed", request, exc_info=error)
        self._channel.error(request, known)


def _run(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.jobs.recipe import parse_recipe
    from skysense.jobs.runner import run

    return run(parse_recipe(params.get("recipe"), Path(params.get("root") or Path.cwd())), control)


def _download(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.hub.sharded import download_weights
    from skysense.hub.source import environment_token, make_source

    return download_weights(
        make_source(params["repository"], params["file"], params.get("revision"), params.get("endpoint")),
        Path(params["out"]),
        control,
        accepted=params.get("accepted") is True,
        sha256=params.get("sha256"),
        token=params.get("token") or environment_token(),
    )


def _list_weights(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.hub.listing import list_weights
    from skysense.hub.source import environment_token, make_source

    source = make_source(params["repository"], None, params.get("revision"), params.get("endpoint"))
    return list_weights(source, control, params.get("token") or environment_token())


def _inspect_weights(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.hub.own_files import inspect_weights

    return inspect_weights([Path(path) for path in params["paths"]])


def _convert_weights(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.hub.own_files import convert_weights

    return convert_weights([Path(path) for path in params["paths"]], control, params.get("bands"))


def _areas(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.assessment.areas import measure_map

    return measure_map(Path(params["map"]), _optional_path(params.get("csv")), control)


def _draw_sample(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.assessment.sample import draw_sample

    numbers = {name: params[name] for name in ("points", "per_class", "minimum", "seed") if name in params}
    return draw_sample(Path(params["map"]), Path(params["out"]), control, **numbers)


def _estimate(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.assessment.verify import verify

    return verify(
        Path(params["map"]),
        Path(params["sample"]),
        params["field"],
        _optional_path(params.get("csv")),
        control,
        params.get("layer"),
    )


def _vectorize(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.assessment.polygons import vectorize

    numbers = {name: params[name] for name in ("simplify_m", "min_m2") if name in params}
    return vectorize(Path(params["map"]), Path(params["out"]), control, **numbers)


def _suggest(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.inference.suggest import suggest

    return suggest(
        Path(params["map"]),
        Path(params["out"]),
        control,
        points=params.get("points", 20),
        embedding=_optional_path(params.get("embedding")),
        labels=_optional_path(params.get("labels")),
        layer=params.get("layer"),
    )


def _similar(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.inference.similarity import similar

    return similar(
        Path(params["embedding"]),
        Path(params["out"]),
        control,
        at=[(x, y) for x, y in params.get("at") or []],
        at_crs=params.get("at_crs"),
        labels=_optional_path(params.get("labels")),
        layer=params.get("layer"),
    )


def _cluster(params: dict[str, Any], control: JobControl) -> dict[str, Any]:
    from skysense.inference.clusters import cluster

    return cluster(
        Path(params["embedding"]),
        Path(params["out"]),
        control,
        k=params["classes"],
        seed=params.get("seed", 0),
    )


def _optional_path(text: str | None) -> Path | None:
    return Path(text) if text else None


#: One at a time, in the order of their requests.
_JOBS: dict[str, _Work] = {"run": _run, "convert_weights": _convert_weights}
#: Each in a thread of its own.
_ASIDE: dict[str, _Work] = {
    "download": _download,
    "list_weights": _list_weights,
    "inspect_weights": _inspect_weights,
    "areas": _areas,
    "draw_sample": _draw_sample,
    "estimate": _estimate,
    "vectorize": _vectorize,
    "suggest": _suggest,
    "similar": _similar,
    "cluster": _cluster,
}

#: What can be asked of a waiting or running job, and the reply's word for having asked.
_STEERING: dict[str, tuple[Callable[[JobControl], None], str]] = {
    "cancel": (JobControl.cancel, "cancelled"),
    "pause": (JobControl.pause, "paused"),
    "resume": (JobControl.resume, "resumed"),
}


def _hello(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "protocol": VERSION,
        "version": skysense.__version__,
        "python": platform.python_version(),
        "torch": importlib.util.find_spec("torch") is not None,
        "pid": os.getpid(),
    }


def _describe(params: dict[str, Any]) -> dict[str, Any]:
    from skysense.scene.describe import describe

    modality = params.get("modality")
    return {"descriptions": [describe(Path(path), modality).to_json() for path in params["paths"]]}


def _validate(params: dict[str, Any]) -> dict[str, Any]:
    from skysense.scene.scenefile import parse_scene
    from skysense.scene.validate import validate

    scene = dict(params["scene"])
    if params.get("labels"):
        scene["labels"] = params["labels"]
    result = validate(parse_scene(scene, Path.cwd()), labels=bool(params.get("labels")))
    return {
        "rows": [{"status": row.status, "reason": row.reason} for row in result.rows],
        "errors": result.errors,
        "warnings": result.warnings,
        "summary": result.summary,
    }


def _hub(params: dict[str, Any]) -> dict[str, Any]:
    from skysense.hub.licence import LICENCE
    from skysense.hub.source import KNOWN_REPOSITORIES, make_source
    from skysense.model.folder import models_folder

    return {
        "licence": LICENCE,
        "repositories": list(KNOWN_REPOSITORIES),
        "folder": str(models_folder()),
        "endpoint": make_source("").endpoint,
    }


_ANSWERS = {"hello": _hello, "describe": _describe, "validate": _validate, "hub": _hub}


def main() -> int:
    """Serve on stdin and stdout; whatever else prints goes to stderr."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)  # QGIS stays smooth while we compute
    with contextlib.suppress(BrokenPipeError):
        Worker(sys.stdin.buffer, replies).serve()
    return 0
