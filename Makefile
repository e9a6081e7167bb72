# Everything runs from here; `make help` lists the targets.
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Real data and models for `make paper` (and `make lab`).
CASME2_ROOT ?=
SAMM_ROOT ?=
# The other releases of CD6ME, as far as they are there.
CASME_ROOT ?=
CASME3_ROOT ?=
FOURDME_ROOT ?=
MMEW_ROOT ?=
RELEASES ?= casme2,samm
LLM ?= Qwen/Qwen2.5-1.5B
# For `make grid`: "llm=a,b recipe=paper,released seeds=1,2", or a YAML file with a list for each parameter.
GRID :=
PROFILE := paper
# Recipes read these from the environment: whatever characters a path has, no shell takes it apart.
export CASME2_ROOT SAMM_ROOT CASME_ROOT CASME3_ROOT FOURDME_ROOT MMEW_ROOT RELEASES LLM GRID PROFILE
# More for the command aullm, such as ARGS="--only 02_train_loso -p recipe=released".
ARGS ?=

# A training step frees and takes some hundred megabytes; glibc would hand them back to the kernel and fault them in
# again each time. These three settings halve a step on the CPU, and must be there before a process starts.
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 68719476736
export MALLOC_TOP_PAD_ := 268435456
# cuBLAS is deterministic only with a fixed workspace.
export CUBLAS_WORKSPACE_CONFIG := :4096:8
export PYTHONUNBUFFERED := 1
export TOKENIZERS_PARALLELISM := false

# Whether the call names a profile, which `make clean` has to tell from the default.
NAMED := $(filter command,$(origin PROFILE))

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-llm demo-full paper grid report crate notebooks lab test browser bench readmes lint clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(READY) ## make .venv with the pinned packages (once)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {v}; call make with PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[notebooks,dev]'
	@$(BIN)/python -m aullm_lib.preprocess
	@touch $@

demo: $(READY) ## the main job on synthetic data with a tiny LLM: about 11 minutes on 2 cores, no GPU
	@$(BIN)/aullm demo $(ARGS)

demo-llm: $(READY) ## the demo's main job with a genuine pretrained LLM, SmolLM2-135M: up to half an hour on 2 cores
	@$(BIN)/aullm batch demo-llm --only 02_train_loso --only 04_ablations --only 06_visualize \
	  --only 08_audit $(ARGS)

demo-full: $(READY) ## every baseline, and every claim that synthetic releases can answer: up to 90 minutes on 2 cores
	@$(BIN)/aullm batch demo-full $(ARGS)

paper: ## the same path with real data and LLM: make paper CASME2_ROOT=... SAMM_ROOT=... [RELEASES=casme2] [LLM=...]
	@for release in $$(tr ',a-z' ' A-Z' <<< "$$RELEASES"); do \
	  case $$release in CASME2) root=$$CASME2_ROOT;; SAMM) root=$$SAMM_ROOT;; \
	    *) echo "RELEASES=$$RELEASES: choose from casme2,samm" >&2; exit 2;; esac; \
	  if [ ! -d "$$root" ]; then echo "$${release}_ROOT is $${root:-not set}$${root:+, which is no folder}: give the" \
	    "folder of the unpacked release, make paper $${release}_ROOT=/path/to/it, or leave it out with RELEASES=..." >&2; \
	    exit 2; fi; done
	@$(MAKE) --silent --no-print-directory setup
	@$(BIN)/aullm batch paper -p "releases=[$$RELEASES]" -p "llm=$$LLM" -p "casme2_root=$$CASME2_ROOT" \
	  -p "samm_root=$$SAMM_ROOT" -p "casme_root=$$CASME_ROOT" -p "casme3_root=$$CASME3_ROOT" \
	  -p "fourdme_root=$$FOURDME_ROOT" -p "mmew_root=$$MMEW_ROOT" $(ARGS)

grid: $(READY) ## every combination of some parameters, going on after a failure: make grid GRID="llm=a,b seeds=1,2"
	@$(BIN)/aullm grid "$$PROFILE" "$$GRID" \
	  $(if $(CASME2_ROOT),-p "casme2_root=$$CASME2_ROOT") $(if $(SAMM_ROOT),-p "samm_root=$$SAMM_ROOT") \
	  $(if $(filter-out file,$(origin RELEASES)),-p "releases=[$$RELEASES]") \
	  $(if $(filter-out file,$(origin LLM)),-p "llm=$$LLM") $(ARGS)

report: PROFILE := demo
report: $(READY) ## the replication report, and a static site with notebooks, tables and figures: make report [PROFILE=demo]
	@$(BIN)/aullm report "$$PROFILE"

crate: PROFILE := demo
crate: $(READY) ## runs without weights, tables, figures and notebooks as one RO-Crate: make crate [PROFILE=demo]
	@$(BIN)/aullm crate "$$PROFILE"

notebooks: $(READY) ## put the demo's outputs, small and of synthetic data, into the notebooks of the repository
	@$(BIN)/aullm demo
	@$(BIN)/aullm outputs demo

lab: $(READY) ## open JupyterLab on the notebooks
	JUPYTER_PATH= JUPYTER_PREFER_ENV_PATH=1 $(BIN)/python -m jupyter lab --notebook-dir=. notebooks/00_quickstart.ipynb

# Two workers of one thread each; a module stays with one of them, which has its fixtures.
# The notebooks run once through papermill, in tests/notebook/test_batch.py, and once through nbval: each in a home of its own.
test: $(READY) ## run every test: units, and every notebook through papermill and nbval
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder tests
	rm -rf runs/nbval
	AULLM_HOME="$$PWD/runs/nbval" $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=600 \
	  -W default -p no:cacheprovider notebooks

browser: ## install Chromium, which tests/notebook/test_browser.py drives (they are skipped without it)
	@if command -v chromium > /dev/null; then chromium --version; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; \
	else echo "tests/notebook/test_browser.py needs Chromium as the command chromium; on Debian: apt-get install chromium, as root"; fi

bench: $(READY) ## measure intervals and tests, preprocessing, faces, synthetic releases, LBP-TOP, then training beside the released way [ARGS="--only tiny,mid"]
	@$(BIN)/python tests/benchmarks/coverage.py
	@$(BIN)/python tests/benchmarks/preprocess.py
	@$(BIN)/python tests/benchmarks/faces.py
	@$(BIN)/python tests/benchmarks/synthetic.py
	@$(BIN)/python tests/benchmarks/lbp_top.py
	@$(BIN)/python tests/benchmarks/training.py $(ARGS)

readmes: $(READY) ## draw the READMEs' tables from what is recorded; after a run first: make readmes ARGS="--record demo-full"
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.readmes $(ARGS)

lint: $(READY) ## ruff over code and notebooks, mypy over the library
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## remove what smoke, demos and tests wrote; another profile goes by its name: make clean PROFILE=paper
	@cd "$${AULLM_HOME:-.}" && doomed=() && for profile in $(if $(NAMED),"$$PROFILE",smoke demo demo-llm demo-full nbval); do \
	  case $$profile in ''|*[!A-Za-z0-9-]*|readme|llm) echo "PROFILE=$$profile is no profile" >&2; exit 2;; esac; \
	  if [ -z "$(NAMED)" ] && grep -rqsE '"synthetic": *false|"data": *"licensed"' --include='*.json' "runs/$$profile"; then \
	    echo "runs/$$profile stays, it has licensed data; to remove it: make clean PROFILE=$$profile"; continue; fi; \
	  for folder in "runs/$$profile" "figures/$$profile"; do [ -e "$$folder" ] && doomed+=("$$folder"); done; \
	done; \
	if [ -n "$(NAMED)" ] && [ $${#doomed[@]} = 0 ]; then echo "PROFILE=$$PROFILE: nothing in $$PWD/runs or figures" >&2; exit 2; fi; \
	for folder in "$${doomed[@]}"; do echo "removing $$(du -sh "$$folder" | tr '\t' ' '), with" \
	  "$$(find "$$folder" -name run.json | wc -l) run folders"; done; \
	if [ -n "$(NAMED)" ] && [ -t 0 ]; then read -rp "Go on? [y/N] " answer; [ "$$answer" = y ] || exit 1; fi; \
	[ $${#doomed[@]} = 0 ] || rm -rf -- "$${doomed[@]}"
	$(if $(NAMED),,rm -rf .pytest_cache .mypy_cache .ruff_cache)
