# Every target works alone on a fresh machine, may be repeated, and does nothing that is done already.
#   PYTHON=  the interpreter the virtual environment is made from (a change of it makes the environment anew)
#   TIER=    exact, quick, small, long or gpu;   CLAIMS= ids, groups or files;   ARGS= further flags of `assay`
#   TINY=1   gpu is rehearsed on the CPU;   WITH= an interpreter that has jax for the GPU: nothing is installed or prepared
# On Linux PyPI's torch (a peer in tests) brings CUDA along; PIP_EXTRA_INDEX_URL with PyTorch's CPU index avoids that.

VENV := .venv
TIER ?= quick
CLAIMS ?=
ARGS ?=
WORKERS ?= 2
GPU ?= assay-results/gpu
FAST := not slow and not gpu and not service
RUN := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := $(RUN) -m pip install --quiet --no-compile --constraint constraints.txt

# Without PYTHON= an environment that works is kept, whatever made it.
IDENTITY := -c 'import sys; print(sys.version_info[:3], sys.base_prefix)'
MADE_FROM := $(shell $(RUN) $(IDENTITY) 2>/dev/null)
ifeq ($(origin PYTHON),undefined)
  PYTHON := python3
  WANTED := $(MADE_FROM)
else
  WANTED := $(shell $(PYTHON) $(IDENTITY) 2>/dev/null)
endif
ifneq ($(WANTED),$(MADE_FROM))
  AGAIN := anew
else ifeq ($(MADE_FROM),)
  AGAIN := anew
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help install data reproduce test test-slow lint ledger gpu gpu-inputs clean anew

help:
	@echo "make reproduce [TIER=quick] [CLAIMS=...]  claims to verdicts, from a fresh machine to the report"
	@echo "make install    the environment in $(VENV) with everything for development; make data: the text corpora only"
	@echo "make test       the fast tests; make test-slow: the slow ones too"
	@echo "make lint       ruff and pyright;  make ledger: is the committed evidence up to date"
	@echo "make gpu        what one GPU can tell in ten minutes, in $(GPU); make gpu TINY=1 rehearses it on the CPU"
	@echo "make clean      removes what make made, results apart"
	@echo "PYTHON=/path/to/python chooses the interpreter (3.11 or later)"

$(VENV)/.made: $(AGAIN)
ifdef AGAIN
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "attention-assay needs \
	Python 3.11 or later and $(PYTHON) is $$($(PYTHON) -V 2>&1 | head -n 1); give PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
endif
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip
	@touch $@

# A larger set of packages holds the core.
$(VENV)/.core: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable '.[test,peers,tensorboard,wandb]'
	@touch $(VENV)/.core $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable '.[test,peers,tensorboard,wandb,dev]'
	@touch $(VENV)/.core $(VENV)/.test $@

$(VENV)/.cuda: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable '.[test,cuda]'
	@touch $(VENV)/.core $@

$(VENV)/.data: $(VENV)/.made data.txt
	$(RUN) -m pip install --quiet --no-deps --require-hashes --requirement data.txt
	@touch $@

install: $(VENV)/.dev $(VENV)/.data

data: $(VENV)/.data

reproduce: $(VENV)/.core $(VENV)/.data
	$(VENV)/bin/assay reproduce --tier=$(TIER) $(ARGS) $(CLAIMS)

# One worker runs all tests of a file, which share what they compile; files with few but long tests do not come last.
test: $(VENV)/.test $(VENV)/.data
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "$(FAST)"

test-slow: $(VENV)/.test $(VENV)/.data
	$(RUN) -m pytest -n $(WORKERS) -m "not gpu and not service"

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/pyright --pythonpath $(RUN)

ledger: $(VENV)/.core $(VENV)/.data
	$(VENV)/bin/assay ledger check

# Its configurations are resolved beforehand, so that it also runs where only jax, flax, optax and numpy are installed.
gpu-inputs: $(VENV)/.core
	$(RUN) -m experiments.bench.gpu.prepare $(GPU)/inputs

gpu: $(if $(WITH),,$(VENV)/$(if $(TINY),.test,.cuda) gpu-inputs)
	$(or $(WITH),$(RUN)) -m experiments.bench.gpu $(GPU) $(if $(TINY),--tiny) $(ARGS)

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
