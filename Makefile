# Needs git, make and Python 3.11 to 3.14; everything else is installed into virtual environments in this folder.
# `make` alone lists the targets.

HOST ?= 127.0.0.1
PORT ?= 8000

# The interpreter: the first of these that is 3.11 to 3.14, unless PYTHON names one.
PYTHON_IS_RIGHT := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
ifndef PYTHON
PYTHON := $(shell for name in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	"$$name" -c '$(PYTHON_IS_RIGHT)' >/dev/null 2>&1 && { command -v "$$name"; break; }; done)
endif

# The runtime: onnxruntime for the CPU, or for CUDA where an NVIDIA driver answers. They install into one folder and
# overwrite each other, so an environment holds one of them; RUNTIME=cpu or RUNTIME=gpu overrides the choice, and
# RUNTIME=openvino takes the build that computes in bf16 on CPUs that can.
ifndef RUNTIME
RUNTIME := $(shell if [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; then echo gpu; else echo cpu; fi)
endif
ifeq ($(filter cpu gpu openvino,$(RUNTIME)),)
$(error RUNTIME is cpu, gpu or openvino, not '$(RUNTIME)')
endif
RUNTIME_PACKAGE_cpu := onnxruntime
RUNTIME_PACKAGE_gpu := onnxruntime-gpu
RUNTIME_PACKAGE_openvino := onnxruntime-openvino

# torch has a CPU build and CUDA builds of the same version, and which one fits is a matter of the machine. TORCH_ARGS
# goes to pip, for example to name the index that holds another build.
TORCH ?= torch==2.13.0
TORCH_ARGS ?=

# Tests of the named data sets read UNROLL_DATA_DIR, or a folder shared/data beside this one; without either they skip.
DATA := $(or $(UNROLL_DATA_DIR),$(wildcard $(abspath ../shared/data)))
# A few small matrices gain nothing from many threads, and tests that start servers share the cores with them.
TEST_SETTINGS := OMP_NUM_THREADS=$(or $(OMP_NUM_THREADS),1) $(if $(DATA),UNROLL_DATA_DIR='$(DATA)')

LOCKS := deploy/locks
# An environment is good for the place and the interpreter it was made with: both are part of its stamps' names.
KEY := $(shell { pwd; $(or $(PYTHON),true) -VV; } 2>/dev/null | cksum | cut -d' ' -f1)
SERVE := .venv
TEST := .venv-test
SERVE_STAMP := $(SERVE)/.installed-$(RUNTIME)-$(KEY)
TRAIN_STAMP := $(SERVE)/.installed-training-$(KEY)
TEST_STAMP := $(TEST)/.installed-$(KEY)
# Two layers over the test environment, each with packages that the tests of one feature need and the rest must not see:
# another build of onnxruntime, and the experiment trackers. Packages of a layer come before those below it.
OPENVINO := .venv-openvino
OPENVINO_STAMP := $(OPENVINO)/.installed-$(KEY)
TRACKERS := .venv-trackers
TRACKERS_STAMP := $(TRACKERS)/.installed-$(KEY)
HAS_OPENVINO := $(shell $(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info >= (3, 14))' 2>/dev/null && echo yes)
LOCK := .venv-lock

PIP_FLAGS := --disable-pip-version-check --no-input --quiet
# Only the files named in a lock file, by their hashes; a change of version replaces what was there. What comes as source
# is built the standard way, which the pip of older systems takes only when asked to. Modules are compiled when they are
# first imported: most never are.
INSTALL_LOCKED := -m pip install $(PIP_FLAGS) --no-compile --use-pep517 --require-hashes -r
# The project itself, in place, with the build tool that the lock has just installed.
INSTALL_PROJECT := -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .

# The official builds of onnxruntime report usage to their maker unless this is set.
export ORT_DISABLE_TELEMETRY := 1
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help serve serve-env train-env up down verify-deploy test-system test-env test pytest pytest-layers wheel lint types format bench bench-env lock clean check-python check-docker

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(SERVE_STAMP) ## install the service (no torch) and start it with the bundles in models/; HOST=, PORT=
	exec $(SERVE)/bin/unroll serve --host $(HOST) --port $(PORT)

serve-env: $(SERVE_STAMP) ## install the service into .venv

train-env: $(TRAIN_STAMP) ## add what training needs to .venv; after it, `.venv/bin/unroll train` works

# What the images say of themselves.
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

up: .env | check-docker ## build and start service, Prometheus, Alertmanager and Grafana in containers; secrets in .env
	VERSION="$(VERSION)" REVISION="$(REVISION)" docker compose up --build --detach --wait
	@echo
	@docker compose ps --format '{{.Service}}\t{{.Status}}\t{{.Ports}}'
	@echo
	@echo 'Grafana knows the user admin; its password stands in .env.'

down: .env | check-docker ## stop and remove those containers; what they stored is kept
	docker compose --profile '*' down

verify-deploy: | check-python check-docker ## try the whole stack in containers of its own: dashboards, alerts, faults; minutes
	$(PYTHON) -m deploy.verify

# Ubuntu packages Chromium for snap only, which containers lack: Playwright brings a browser of its own there.
test-system: ## install the programs that tests start: Chromium, Redis, HAProxy, promtool, ... (Debian, Ubuntu; as root)
	@.ci/install-system
	@.ci/install-system --has-browser || { $(MAKE) test-env && $(TEST)/bin/playwright install --with-deps chromium; }

test-env: $(TEST_STAMP) $(TRACKERS_STAMP) $(if $(HAS_OPENVINO),$(OPENVINO_STAMP)) ## install everything the tests need into .venv-test, .venv-trackers and .venv-openvino

# In this order, so that the summary of most tests comes last.
test: lint types pytest-layers pytest ## run every check: ruff, import-linter, mypy and the tests

# Each worker is a process with the networks it needs: more than four gain little.
WORKERS ?= auto
PYTEST := -m pytest --strict-skips
pytest: $(TEST_STAMP) ## run the tests alone, on every core; ARGS="-k name" is handed on, WORKERS=0 runs them in one process
	$(TEST_SETTINGS) $(TEST)/bin/python $(PYTEST) --numprocesses $(WORKERS) --maxprocesses 4 -m "not openvino and not trackers" $(ARGS)

pytest-layers: $(TRACKERS_STAMP) $(if $(HAS_OPENVINO),$(OPENVINO_STAMP)) ## run the tests that need OpenVINO, MLflow or Weights & Biases
	$(TEST_SETTINGS) $(TRACKERS)/bin/python $(PYTEST) -m trackers tests/training/fit
ifdef HAS_OPENVINO
	$(TEST_SETTINGS) $(OPENVINO)/bin/python $(PYTEST) -m openvino tests/inference/runtime tests/training/publish
else
	@echo 'onnxruntime-openvino has no build for this Python: its tests are left out'
endif

lint: $(TEST_STAMP) ## ruff (rules and format) and import-linter
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/lint-imports

types: $(TEST_STAMP) ## mypy, strict
	$(TEST)/bin/mypy

format: $(TEST_STAMP) ## rewrite the sources in ruff's format, and fix what it can
	$(TEST)/bin/ruff check --fix .
	$(TEST)/bin/ruff format .

# Peers are downloaded into environments of their own, in .cache/bench; BENCH_CACHE names another folder.
bench-env: $(TEST_STAMP) ## build what `make bench` measures, and install the peers, each into its own environment
	OMP_NUM_THREADS=1 $(TEST)/bin/python -m tests.load prepare

bench: bench-env ## measure service, peers and limits here, into tests/load/RESULTS.md; ARGS="--quick -s tagger"
	OMP_NUM_THREADS=1 $(TEST)/bin/python -m tests.load run $(ARGS)

# A build folder may still hold modules that are gone; setuptools would put them into the wheel.
wheel: $(TEST_STAMP) ## build the wheel of unroll-rnn into dist/
	rm -rf build dist
	$(TEST)/bin/python -m pip wheel $(PIP_FLAGS) --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build

# Every stamp is written last, so an installation that was interrupted is simply done again.
$(SERVE_STAMP): pyproject.toml $(LOCKS)/service-$(RUNTIME).txt | check-python
	@echo "installing the service for the $(RUNTIME) into $(SERVE)"
	@test -n "$(wildcard $(SERVE)/.installed-*-$(KEY))" || $(PYTHON) -m venv --clear $(SERVE)
	@rm -f $(SERVE)/.installed-*
	@$(SERVE)/bin/python -m pip uninstall $(PIP_FLAGS) --yes $(filter-out $(RUNTIME_PACKAGE_$(RUNTIME)),onnxruntime onnxruntime-gpu onnxruntime-openvino) 2>/dev/null
	@$(SERVE)/bin/python -m pip uninstall $(PIP_FLAGS) --yes unroll 2>/dev/null  # the name before unroll-rnn
	@$(SERVE)/bin/python $(INSTALL_LOCKED) $(LOCKS)/service-$(RUNTIME).txt
	@$(SERVE)/bin/python $(INSTALL_PROJECT)
	@touch $@

$(TRAIN_STAMP): $(SERVE_STAMP) $(LOCKS)/training.txt
	@echo "adding what training needs to $(SERVE)"
	@$(SERVE)/bin/python $(INSTALL_LOCKED) $(LOCKS)/training.txt
	@$(SERVE)/bin/python -m pip install $(PIP_FLAGS) $(TORCH_ARGS) '$(TORCH)'
	@touch $@

$(TEST_STAMP): pyproject.toml $(LOCKS)/test.txt | check-python
	@echo "installing everything the tests need into $(TEST)"
	@test -n "$(wildcard $(TEST)/.installed-$(KEY))" || $(PYTHON) -m venv --clear $(TEST)
	@rm -f $(TEST)/.installed-*
	@$(TEST)/bin/python -m pip uninstall $(PIP_FLAGS) --yes unroll 2>/dev/null  # the name before unroll-rnn
	@$(TEST)/bin/python $(INSTALL_LOCKED) $(LOCKS)/test.txt
	@$(TEST)/bin/python -m pip install $(PIP_FLAGS) --no-compile $(TORCH_ARGS) '$(TORCH)'
	@$(TEST)/bin/python $(INSTALL_PROJECT)
	@touch $@

# $(1): the layer's folder, $(2): its lock file. A .pth file makes the packages below visible, editable ones included; pip
# then installs only what they lack.
define INSTALL_LAYER
	@echo "installing $(2) over $(TEST) into $(1)"
	@$(PYTHON) -m venv --clear $(1)
	@below=$$($(TEST)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
		own=$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
		echo "import site; site.addsitedir('$$below')" > "$$own/below.pth"
	@$(1)/bin/python $(INSTALL_LOCKED) $(LOCKS)/$(2)
	@touch $@
endef

$(OPENVINO_STAMP): $(LOCKS)/service-openvino.txt $(TEST_STAMP) | check-python
	$(call INSTALL_LAYER,$(OPENVINO),service-openvino.txt)

$(TRACKERS_STAMP): $(LOCKS)/trackers.txt $(TEST_STAMP) | check-python
	$(call INSTALL_LAYER,$(TRACKERS),trackers.txt)

# Secrets that no one else has, and the cores of this machine; TRAIN_USER makes bundles that are trained yours.
FRESH_SECRET = $$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
NUM_CORES = $$(docker info --format '{{.NCPU}}')
.env: | check-docker
	@umask 077 && sed \
		-e "s|^UNROLL_STATE_KEYS=.*|UNROLL_STATE_KEYS=$(FRESH_SECRET)|" \
		-e "s|^GRAFANA_ADMIN_PASSWORD=.*|GRAFANA_ADMIN_PASSWORD=$(FRESH_SECRET)|" \
		-e "s|^SERVICE_CPUS=.*|SERVICE_CPUS=$(NUM_CORES)|" -e "s|^TRAIN_CPUS=.*|TRAIN_CPUS=$(NUM_CORES)|" \
		-e "s|^TRAIN_USER=.*|TRAIN_USER=$$(id -u):$$(id -g)|" .env.example > $@
	@echo 'wrote .env with fresh secrets'

check-docker:
	@command -v docker >/dev/null || { echo "docker is not installed: install Docker Engine with the compose plug-in, or Docker Desktop." >&2; exit 1; }
	@docker compose version >/dev/null 2>&1 || { echo "docker compose is not installed: install the compose plug-in." >&2; exit 1; }
	@docker info >/dev/null 2>&1 || { echo "no Docker engine answers: start it, or set DOCKER_HOST." >&2; exit 1; }

check-python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 to 3.14 was found. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c '$(PYTHON_IS_RIGHT)' || { echo "$(PYTHON) is not Python 3.11 to 3.14." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; }

# One resolution for every supported Python and platform. The largest set is resolved first and binds the others, so
# that the tests run with the versions that are served. The files hold hashes and no addresses. Versions that are pinned
# already stay, unless UPGRADE=--upgrade asks for the newest.
UPGRADE ?=
COMPILE = $(LOCK)/bin/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --custom-compile-command 'make lock' \
	--override $(LOCKS)/no-torch.txt --no-emit-package torch pyproject.toml $(LOCKS)/build.in

lock: | check-python ## resolve the lock files from pyproject.toml; UPGRADE=--upgrade takes the newest versions
	@test -x $(LOCK)/bin/uv || { $(PYTHON) -m venv --clear $(LOCK) && $(LOCK)/bin/python -m pip install $(PIP_FLAGS) uv; }
	$(COMPILE) --extra cpu --extra training --extra test $(LOCKS)/torch-needs.in --output-file $(LOCKS)/test.txt
	$(COMPILE) --extra training $(LOCKS)/torch-needs.in --constraint $(LOCKS)/test.txt --output-file $(LOCKS)/training.txt
	$(COMPILE) --extra cpu --extra redis --extra tracing --constraint $(LOCKS)/test.txt --output-file $(LOCKS)/service-cpu.txt
	$(COMPILE) --extra gpu --extra redis --extra tracing --constraint $(LOCKS)/test.txt --output-file $(LOCKS)/service-gpu.txt
	$(COMPILE) --extra openvino --extra redis --extra tracing --constraint $(LOCKS)/test.txt --output-file $(LOCKS)/service-openvino.txt
	$(COMPILE) --extra tracking --constraint $(LOCKS)/test.txt --output-file $(LOCKS)/trackers.txt

clean: ## remove the environments and every cache; models/ and runs/ stay
	rm -rf $(SERVE) $(TEST) $(OPENVINO) $(TRACKERS) $(LOCK) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .cache/bench
	find service training tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +
