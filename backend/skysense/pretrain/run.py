"""The task "pretrain": from folders of imagery to a backbone file, step by step, able to stop and go on at any time.

The output folder: `recipe.json`, `found.json` (the imagery), `log.jsonl` (a line per step), `loss.svg`, `checkpoints/`,
and at the end `model.safetensors`, a backbone file. Synthetic landscapes, where asked for, lie in `synthetic/`.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from skysense.errors import Cancelled, InputError
from skysense.finetune.probe import probe_scene
from skysense.jobs.control import JobControl
from skysense.jobs.recipe import Recipe
from skysense.jobs.sidecar import write_json
from skysense.model.checkpoint.backbonefile import Licence
from skysense.model.config import ModelConfig
from skysense.model.device import pick_device
from skysense.model.skysense import SkySense
from skysense.pretrain.alarms import Alarms
from skysense.pretrain.beginning import continued, fresh
from skysense.pretrain.chart import write_chart
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.corpus import Corpus, find_corpus
from skysense.pretrain.export import Origin, export_backbone
from skysense.pretrain.found import Omitted
from skysense.pretrain.journal import Journal, read_journal
from skysense.pretrain.loader import Loader
from skysense.pretrain.parallel import any_process, gather_items, rank, start_processes, world_size
from skysense.pretrain.schedule import rates
from skysense.pretrain.shard import full
from skysense.pretrain.sources import read_sources
from skysense.pretrain.state import extra_of, load, newest, save, step_of
from skysense.pretrain.synthesise import make_synthetic
from skysense.pretrain.trainer import Report, Trainer
from skysense.pretrain.views import Sample, make_sample
from skysense.scene.acquisition import Labels, Scene
from skysense.scene.scenefile import load_scene
from skysense.scene.sensors import SENSORS

#: Settings that a resumed run may change: they influence how it is computed, and not what.
_FREE = {"workers", "checkpoint_activations", "save_every", "probe_every"}
#: Settings that came later, as they were in runs that were begun before.
_BEFORE = {"drop_place": 0.0}


def run_pretrain(recipe: Recipe, control: JobControl) -> dict[str, Any]:
    """Pretrain, in this process or, under `torchrun`, in this one of several.

    Returns:
        {"model", "log", "chart", "steps", "loss", "probe", "found", "unread", "seconds"}; `seconds` of all parts of a
        resumed run.

    Raises:
        InputError: the imagery, the settings or the checkpoint cannot be used, or a step's loss is no number: the
            checkpoints before it are there, and none of what led to it; StorageError: the folder cannot be written; Cancelled: a checkpoint of the
            last step is there.
    """
    with start_processes(pick_device(recipe.options.device)) as device:
        return _pretrain(recipe, control, device)


def _pretrain(recipe: Recipe, control: JobControl, device: torch.device) -> dict[str, Any]:
    run = _Run(recipe, control, device)
    try:
        run.train()
        return run.finish()
    finally:
        run.close()


class _Run:
    def __init__(self, recipe: Recipe, control: JobControl, device: torch.device) -> None:
        assert recipe.pretrain is not None
        self.recipe, self.options, self.control = recipe, recipe.pretrain, control
        self.folder = recipe.output
        self.began = time.monotonic()
        self.done, self.before = 0, 0.0  # steps, and seconds of earlier parts of the run
        self.probed: dict[str, float] = {}
        self.probed_at = -1  # the step after which `probed` was measured, known to every process
        self.scenes = [_labelled(path) for path in self.options.probe]
        checkpoint = newest(self.folder / "checkpoints", self._note)
        if checkpoint is not None and not recipe.options.resume:
            raise InputError(
                "holds a pretraining that was begun before",
                str(self.folder),
                "Go on with it (resume), or choose another folder",
            )
        saved = None if checkpoint is None else extra_of(checkpoint)
        if checkpoint is not None:
            self.done = step_of(checkpoint)
        self.config = self._config(saved)
        self.config.check(world_size())
        self.corpus = self._find()
        self.seen = self._entries  # in any part of the run
        if saved is None:
            model, self.origin = self._begin()
        else:
            model, self.origin = SkySense(ModelConfig.from_json(saved["model"])), _origin(saved["origin"])
            self.before = saved["seconds"]
            self.seen = sorted({*self.seen, *saved["seen"]})
            if saved["entries"] != self._entries:
                self._note(
                    "The imagery is not what the run was begun with: it goes on with what is there now."
                )
        self.trainer = Trainer(model, self.config, device)
        if checkpoint is not None:
            load(checkpoint, self.trainer.tensors())
            self.trainer.loaded()
        if rank() == 0:
            if checkpoint is None:
                write_json(self.folder / "recipe.json", recipe.to_json())
            write_json(self.folder / "found.json", self.corpus.found.to_json())
            self.journal = Journal(self.folder / "log.jsonl", keep=self.done)
        self.loader: Loader[Sample] = Loader(
            self.corpus.entries,
            partial(make_sample, bands=self.trainer.model.config.encoder_bands),
            self.config,
            first_step=self.done,
            rank=rank(),
            processes=world_size(),
        )

    def train(self) -> None:
        """All steps that are left."""
        alarms, waited = Alarms(), 0.0
        mark = time.monotonic()
        for samples in self.loader:
            report = self.trainer.step(self.done, samples)
            now = time.monotonic()
            self.done += 1
            self._tell(report, now - mark, self.loader.waited_s - waited)
            waited = self.loader.waited_s
            for sentence in alarms.look(report.stats):
                self._note(sentence)
            stop = self._stopped()
            if stop or self.done % self.config.save_every == 0 or self.done == self.config.steps:
                self._save()
            if stop:
                self._unread()
                raise Cancelled()
            mark = time.monotonic()

    def finish(self) -> dict[str, Any]:
        """Write the model and the picture."""
        state = {name: full(tensor) for name, tensor in self.trainer.teacher.model.state_dict().items()}
        path, chart = self.folder / "model.safetensors", self.folder / "loss.svg"
        if self.scenes and self.probed_at != self.done and not self._probe():
            raise Cancelled()
        unread = self._unread()
        records = read_journal(self.folder / "log.jsonl") if rank() == 0 else []
        if rank() == 0:
            export_backbone(
                path,
                self.trainer.model.config,
                state,
                self.origin,
                [m for m in SENSORS if self.corpus.found.acquisitions.get(m)],
                self._card(),
                checked=self.options.sources is not None,
                half=self.options.half,
            )
            write_chart(chart, records, f"Pretraining, {self.done:,} steps")
            self.control.progress(1.0, "Pretrained")
        return {
            "model": str(path),
            "log": str(self.folder / "log.jsonl"),
            "chart": str(chart),
            "steps": self.done,
            "loss": records[-1]["loss"] if records else None,
            "probe": self.probed,
            "found": self.corpus.found.text,
            "unread": unread,
            "seconds": self._seconds,
        }

    def _unread(self) -> dict[str, int]:
        """How often files could not be read, in any process of this part of the run; tells it."""
        times: Counter[Omitted] = Counter()
        for problem, count in gather_items(list(self.loader.problems.items())):
            times[problem] += count
        for problem, count in times.most_common():
            self._note(f"{problem.name} could not be read {count} times ({problem.reason}).")
        return {problem.name: count for problem, count in times.items()}

    def close(self) -> None:
        """Close what is open."""
        self.loader.close()
        if rank() == 0:
            self.journal.close()

    # Beginning ------------------------------------------------------------------------------------------------------

    def _config(self, saved: Mapping[str, Any] | None) -> PretrainConfig:
        given = self.options.settings
        if saved is None:
            return PretrainConfig(**{"seed": self.recipe.options.seed, **given})  # type: ignore[arg-type]
        begun = {**_BEFORE, **saved["config"]}
        for name, value in self._asked.items():
            if value != saved["asked"][name]:
                raise InputError(
                    f"was begun with {name} {saved['asked'][name]!r}, not {value!r}",
                    str(self.folder),
                    "Go on with the same options, or begin in another folder",
                )
        for name, value in given.items():
            if name not in _FREE and value != begun[name]:
                raise InputError(
                    f"was begun with {name} {begun[name]!r}, not {value!r}",
                    str(self.folder),
                    "Go on with the same settings, or begin in another folder",
                )
        return PretrainConfig(**{**begun, **{name: given[name] for name in _FREE & given.keys()}})

    def _find(self) -> Corpus:
        """The imagery, synthetic landscapes included; says what was found."""
        data = list(self.recipe.data)
        if rank() == 0:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"cannot be made ({error.strerror})", str(self.folder), "Choose another folder"
                ) from None
            self._synthesise()
        any_process(False)  # the folder is there, and the landscapes are
        data += [str(path) for path in self._synthesise()]
        corpus = find_corpus(
            data,
            root=self.recipe.root,
            sources=None if self.options.sources is None else read_sources(self.options.sources),
            leave_out=self.options.leave_out,
            progress=lambda where: self._prepare(f"Looking at {Path(where).parent.name or where}"),
        )
        self._note(corpus.found.text)
        return corpus

    def _synthesise(self) -> list[Path]:
        """The landscapes that are asked for, made where they are not there."""
        folder, count = self.folder / "synthetic", self.options.synthetic
        return make_synthetic(folder, count, self.config.seed, lambda text: self._prepare(text.capitalize()))

    def _note(self, text: str) -> None:
        """Tell it once, whatever the number of processes."""
        if rank() == 0:
            self.control.note(text)

    def _prepare(self, text: str) -> None:
        """Tell what is done before the first step of this part of the run."""
        self.control.progress(self._share, text)

    def _begin(self) -> tuple[SkySense, Origin]:
        # All synthetic landscapes lie at one made-up place, which is no region's context.
        places = [entry.centre for entry in self.corpus.entries if not entry.synthetic]
        if self.recipe.model is not None:
            return continued(self.recipe.model, places, self.config)
        return fresh(self.options.preset, places, self.config)

    # On the way -----------------------------------------------------------------------------------------------------

    @property
    def _seconds(self) -> float:
        return self.before + time.monotonic() - self.began - self.control.paused_s

    @property
    def _share(self) -> float:
        return 0.99 * self.done / self.config.steps

    @property
    def _asked(self) -> dict[str, Any]:
        """Options beside the settings that make a run what it is; imagery may be left out on the way."""
        options = self.options
        return {
            "preset": options.preset,
            "seed": self.recipe.options.seed,
            "model": self.recipe.model and str(self.recipe.model),
            "sources": options.sources and str(options.sources),
            "synthetic": options.synthetic,
        }

    @property
    def _entries(self) -> list[str]:
        return [entry.name for entry in self.corpus.entries]

    def _tell(self, report: Report, seconds: float, waited: float) -> None:
        """Probe where it is time, and write the step down."""
        every = self.config.probe_every
        if self.scenes and every and self.done % every == 0:
            self._probe()
        if rank():
            return
        now = rates(self.done - 1, self.config)
        self.journal.write(
            {
                "step": self.done,
                "loss": report.loss,
                "terms": report.terms,
                "stats": report.stats,
                "lr": now.lr,
                "gradient_norm": report.gradient_norm,
                "seconds": round(seconds, 4),
                "waited": round(waited, 4),
                "samples_per_s": round(self.config.batch / seconds, 3),
                "flops_per_s": round(report.flops / seconds),
                **({"probe": self.probed} if self.probed_at == self.done else {}),
            }
        )
        self.control.metrics(
            self.done,
            report.loss,
            report.terms,
            lr=now.lr,
            samples_per_s=self.config.batch / seconds,
            last=self.done == self.config.steps,
        )

    def _stopped(self) -> bool:
        """Tell how far it is; whether the user has asked any process to stop."""
        stop = False
        try:
            self.control.progress(self._share, f"Step {self.done:,} of {self.config.steps:,}")
        except Cancelled:
            stop = True
        return any_process(stop)

    def _save(self) -> None:
        save(
            self.folder / "checkpoints",
            self.done,
            self.trainer.tensors(),
            {
                "config": self.config.to_json(),
                "model": self.trainer.model.config.to_json(),
                "origin": {**asdict(self.origin), "initial": sorted(self.origin.initial)},
                "asked": self._asked,
                "entries": self._entries,
                "seen": self.seen,
                "seconds": self._seconds,
            },
            # Of a run that is done only the last step is asked for again.
            keep=1 if self.done == self.config.steps else 2,
        )

    def _probe(self) -> bool:
        """Score the teacher's frozen features on the labelled scenes; False where the user pressed Cancel meanwhile.

        The first process does it; the others wait.
        """
        found, cancelled = {}, False
        with self.trainer.teacher_whole():
            if rank() == 0:
                try:
                    for scene, labels in self.scenes:
                        scores = probe_scene(scene, labels, self.trainer.teacher.model, self.control.quiet())
                        found[scene.name] = scores["linear"]["miou"]
                except Cancelled:
                    cancelled = True
            cancelled = any_process(cancelled)
        if not cancelled:
            self.probed, self.probed_at = found, self.done
        return not cancelled

    def _card(self) -> dict[str, Any]:
        """What the model's header tells of the training."""
        card: dict[str, Any] = {
            "steps": self.done,
            "seconds": round(self._seconds),
            "device": _device_name(self.trainer.device),
            "processes": world_size(),
            "config": self.config.to_json(),
            "found": self.corpus.found.text,
            "probe": self.probed,
        }
        if self.options.sources is not None:
            sources = read_sources(self.options.sources)
            card["sources"] = [asdict(sources[name]) for name in self.seen if name in sources]
        return card


def _origin(saved: Mapping[str, Any]) -> Origin:
    licence = None if saved["licence"] is None else Licence(**saved["licence"])
    return Origin(saved["preset"], saved["weights"], licence, frozenset(saved["initial"]))


def _labelled(path: str) -> tuple[Scene, Labels]:
    scene = load_scene(Path(path))
    if scene.labels is None:
        raise InputError("has no labels to probe with", path, "Choose a labelled scene")
    return scene, scene.labels


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
