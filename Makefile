# Every command does its own set-up on a fresh Debian or Ubuntu machine and is quick when nothing is left to do.
SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: help env system python install test slow lint package demo screenshots parity bench pretrain-tiny pretrain-left-out bench-pretrain

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: python ## the backend's environment in .venv
	@tools/setup_env.sh

python:
	@tools/setup_system.sh python

system: ## QGIS and what a screenless machine needs to run it
	@tools/setup_system.sh desktop

install: env system ## link the plugin into QGIS's default profile and enable it
	@/usr/bin/python3 tools/install_plugin.py

test: env system ## every test
	@tools/run_tests.sh

slow: env ## the tests that take minutes and gigabytes: the largest model, end to end
	$(PY) -m pytest tests/slow -q -s

lint: env ## static checks
	$(PY) -m ruff check .
	$(PY) -m mypy backend/skysense
	$(PY) tools/check_plugin.py

package: env ## the plugin's zip under dist/
	$(PY) tools/package.py

demo: env system ## the main job in a real QGIS without a screen; SCENE=dir for a scene of your own
	@$(PY) tools/demo/run_demo.py $(if $(SCENE),--scene "$(SCENE)")

screenshots: env system ## the pictures in docs/images
	@mkdir -p build docs/images
	@$(PY) tools/demo/run_demo.py $(if $(SCENE),--scene "$(SCENE)") | tail -n 1 > build/screenshots.json
	@cp "$$($(PY) -c 'import json; print(json.load(open("build/screenshots.json"))["screenshot"])')" docs/images/demo.png

pretrain-tiny: env ## make the built-in model again from the imagery in DATA=dir (a quarter of an hour on two cores)
	$(PY) tools/pretrain_tiny.py --data "$(if $(DATA),$(DATA),../shared/data)" --out "$(if $(OUT),$(OUT),build/pretrain-tiny)"

pretrain-left-out: env ## what its twins score on places that they have not seen (an hour)
	$(PY) tools/pretrain_tiny.py --left-out --data "$(if $(DATA),$(DATA),../shared/data)" --out "$(if $(OUT),$(OUT),build/pretrain-left-out)"
	$(PY) benchmarks/bench_probe.py "$(if $(DATA),$(DATA),../shared/data)" --left-out "$(if $(OUT),$(OUT),build/pretrain-left-out)"

bench-pretrain: env ## what each part of the pretraining brings, on the labelled scenes in DATA=dir
	$(PY) benchmarks/ablation_pretrain.py "$(if $(DATA),$(DATA),../shared/data)"

parity: env ## numerical parity with the fixtures in GOLDENS=dir
	@$(PY) tools/parity/run.py --goldens "$(GOLDENS)"

bench: env system ## benchmarks into benchmarks/results; QUICK=1 for small ones
	@for script in benchmarks/bench_*.py; do QUICK=$(QUICK) $(PY) $$script || exit 1; done
