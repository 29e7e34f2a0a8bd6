# Requires git, make and Python 3.11 to 3.14. Everything else is installed into virtual environments in this folder.
# `make` without a target lists the targets.

HOST ?= 127.0.0.1
PORT ?= 8000

# The interpreter: the first of these that is 3.11 to 3.14, unless PYTHON names one.
PYTHON_IS_RIGHT := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
ifndef PYTHON
PYTHON := $(shell for name in python3.13 python3.12 python3.11 python3.14 python3 python; do \
	"$$name" -c '$(PYTHON_IS_RIGHT)' >/dev/null 2>&1 && { command -v "$$name"; break; }; done)
endif

# The build of onnxruntime: for CUDA if an NVIDIA driver is present, else for the CPU. The builds install into the same
# folder and overwrite each other, so an environment holds one of them. RUNTIME=cpu or RUNTIME=gpu overrides the choice;
# RUNTIME=openvino selects the build that computes in bf16 on CPUs with bf16 instructions.
ifndef RUNTIME
RUNTIME := $(shell if [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; then echo gpu; else echo cpu; fi)
endif
ifeq ($(filter cpu gpu openvino,$(RUNTIME)),)
$(error RUNTIME is cpu, gpu or openvino, not '$(RUNTIME)')
endif
RUNTIME_PACKAGE_cpu := onnxruntime
RUNTIME_PACKAGE_gpu := onnxruntime-gpu
RUNTIME_PACKAGE_openvino := onnxruntime-openvino

# torch has a CPU build and CUDA builds of the same version; which one fits depends on the machine. TORCH_ARGS is passed
# to pip, for example to name the index of another build.
TORCH ?= torch==2.13.0
TORCH_ARGS ?=

# Tests of public data sets read UNROLL_DATA_DIR, or the folder shared/data next to this one; without either they are
# skipped.
DATA := $(or $(UNROLL_DATA_DIR),$(wildcard $(abspath ../shared/data)))
# One thread per process: the tests' matrices are small, and several processes share the cores.
TEST_SETTINGS := OMP_NUM_THREADS=$(or $(OMP_NUM_THREADS),1) $(if $(DATA),UNROLL_DATA_DIR='$(DATA)')

LOCKS := deploy/locks
# An environment is valid for one folder and one interpreter: both are part of the name of its stamp file.
KEY := $(shell { pwd; $(or $(PYTHON),true) -VV; } 2>/dev/null | cksum | cut -d' ' -f1)
SERVE := .venv
TEST := .venv-test
SERVE_STAMP := $(SERVE)/.installed-$(RUNTIME)-$(KEY)
TRAIN_STAMP := $(SERVE)/.installed-training-$(KEY)
TEST_STAMP := $(TEST)/.installed-$(KEY)
# Two environments layered over the test environment, for packages that only some tests may see: another build of
# onnxruntime, and the experiment trackers. A layer's packages take precedence over those below it.
OPENVINO := .venv-openvino
OPENVINO_STAMP := $(OPENVINO)/.installed-$(KEY)
TRACKERS := .venv-trackers
TRACKERS_STAMP := $(TRACKERS)/.installed-$(KEY)
# Two more: engines of data and of services, for `Scorer` and deploy/ray in their processes. They take 320 and 500 MB, and
# Spark needs Java, so that their tests are skipped unless `make ray-env` and `make spark-env` were called.
RAY := .venv-ray
RAY_STAMP := $(RAY)/.installed-$(KEY)
SPARK := .venv-spark
SPARK_STAMP := $(SPARK)/.installed-$(KEY)
# Clients of other projects, which the service must answer unchanged: one environment for each list of packages in
# deploy/locks/clients, apart from everything else, since some of them exclude each other.
CLIENTS := .venv-clients
CLIENT_STAMPS := $(patsubst $(LOCKS)/clients/%.in,$(CLIENTS)/%/.installed-$(KEY),$(wildcard $(LOCKS)/clients/*.in))
HAS_OPENVINO := $(shell $(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info >= (3, 14))' 2>/dev/null && echo yes)
LOCK := .venv-lock

PIP_FLAGS := --disable-pip-version-check --no-input --quiet
# Install exactly what a lock file pins, verified by hash. --use-pep517: older pips build source distributions the
# standard way only on request. --no-compile: modules are compiled on first import, and most are never imported.
INSTALL_LOCKED := -m pip install $(PIP_FLAGS) --no-compile --use-pep517 --require-hashes -r
# Install the project itself in editable mode, with the build backend from the lock file.
INSTALL_PROJECT := -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .

# Disables the usage reports of the official onnxruntime builds.
export ORT_DISABLE_TELEMETRY := 1
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif
.PHONY: help serve serve-env train-env up down verify-deploy test-system test-env test checks collect pytest pytest-layers ray-env spark-env wheel lint types format openapi bench bench-env soak abuse lock proto clean check-python check-docker

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(SERVE_STAMP) ## install the service (without torch) and serve the bundles in models/; HOST=, PORT=
	exec $(SERVE)/bin/unroll serve --host $(HOST) --port $(PORT)

serve-env: $(SERVE_STAMP) ## install the service into .venv

train-env: $(TRAIN_STAMP) ## install the training extra into .venv, for `.venv/bin/unroll train`

# Labels of the container images.
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

up: .env | check-docker ## build and start the service, Prometheus, Alertmanager and Grafana in containers; writes secrets to .env
	VERSION="$(VERSION)" REVISION="$(REVISION)" docker compose up --build --detach --wait
	@echo
	@docker compose ps --format '{{.Service}}\t{{.Status}}\t{{.Ports}}'
	@echo
	@echo 'Grafana: log in as admin with the password in .env.'

down: .env | check-docker ## stop and remove the containers; volumes are kept
	docker compose --profile '*' down

verify-deploy: | check-python check-docker ## test the whole stack in separate containers: dashboards, alerts, fault injection (minutes)
	$(PYTHON) -m deploy.verify

# Ubuntu ships Chromium as a snap only, which containers cannot install: use Playwright's build there.
test-system: ## install the programs that tests start (Chromium, Redis, HAProxy, nginx, Caddy, promtool, docker-registry); Debian or Ubuntu, as root
	@.ci/install-system
	@.ci/install-system --has-browser || { $(MAKE) test-env && $(TEST)/bin/playwright install --with-deps chromium; }

test-env: $(TEST_STAMP) $(CLIENT_STAMPS) $(TRACKERS_STAMP) $(if $(HAS_OPENVINO),$(OPENVINO_STAMP)) ## create the test environments .venv-test, .venv-clients, .venv-trackers and .venv-openvino

ray-env: $(RAY_STAMP) ## create .venv-ray, for the tests of Ray Data and Ray Serve

spark-env: $(SPARK_STAMP) ## create .venv-spark, for the test of PySpark, which also needs Java 17

# Two at a time: mypy, and the installation of the clients, keep one core busy for a minute or two each. Collecting the
# tests compiles them, which every worker of the main run would do for itself. The summary of that run comes last.
# Before GNU make 4, as on macOS, the lines of both are mixed.
UNMIXED := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
test: checks pytest ## run every check: ruff, import-linter, mypy and the tests

checks: $(TEST_STAMP)
	@$(MAKE) --jobs 2 $(UNMIXED) SIDE_BY_SIDE=yes types pytest-layers collect lint $(CLIENT_STAMPS)

# Worker processes of pytest-xdist: one more than cores, as some tests wait for servers and deadlines; more than four gain
# little, because the largest group of tests is not split.
WORKERS ?= $(shell $(or $(PYTHON),false) -c 'import os; print((os.cpu_count() or 1) + 1)')
PYTEST := -m pytest --strict-skips
pytest: $(TEST_STAMP) $(CLIENT_STAMPS) ## run the tests in parallel; ARGS="-k name" is passed to pytest, WORKERS=0 uses one process
	$(TEST_SETTINGS) $(TEST)/bin/python $(PYTEST) --numprocesses $(WORKERS) --maxprocesses 4 -m "not openvino and not trackers" $(ARGS)

collect: $(TEST_STAMP)
	@$(TEST_SETTINGS) $(TEST)/bin/python -m pytest --collect-only --quiet --quiet >/dev/null

pytest-layers: $(TRACKERS_STAMP) $(if $(HAS_OPENVINO),$(OPENVINO_STAMP)) ## run the tests that need OpenVINO, MLflow or Weights & Biases
	$(TEST_SETTINGS) $(TRACKERS)/bin/python $(PYTEST) -m trackers tests/training/fit
ifdef HAS_OPENVINO
	$(TEST_SETTINGS) $(OPENVINO)/bin/python $(PYTEST) -m openvino tests/inference/runtime tests/training/publish
else
	@echo 'onnxruntime-openvino has no wheel for this Python: its tests are not run'
endif

lint: $(TEST_STAMP) ## ruff (rules and format) and import-linter
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/lint-imports

types: $(TEST_STAMP) ## mypy, strict
	$(TEST)/bin/mypy

format: $(TEST_STAMP) ## format the sources and apply ruff's automatic fixes
	$(TEST)/bin/ruff check --fix .
	$(TEST)/bin/ruff format .

openapi: $(TEST_STAMP) ## write service/docs/openapi.json from the routes; a test fails when it differs
	$(TEST)/bin/unroll openapi --out service/docs/openapi.json

# Peers are installed into separate environments in .cache/bench; BENCH_CACHE names another folder.
bench-env: $(TEST_STAMP) ## install the peers that `make bench` measures, each into its own environment
	OMP_NUM_THREADS=1 $(TEST)/bin/python -m tests.load prepare

bench: bench-env ## benchmark the service, its peers and its limits; writes tests/load/RESULTS.md; ARGS="--quick -s tagger"
	OMP_NUM_THREADS=1 $(TEST)/bin/python -m tests.load run $(ARGS)

MINUTES ?= 60
soak: $(TEST_STAMP) ## load the service for an hour, compare every answer, watch its memory; MINUTES=5, ARGS="--models models"
	OMP_NUM_THREADS=1 $(TEST)/bin/python -m tests.load soak --minutes $(MINUTES) $(ARGS)

abuse: $(TEST_STAMP) ## attack the service within a memory limit of 2 GiB (as root), and say what others noticed; ARGS="-a pipelining"
	OMP_NUM_THREADS=1 $(TEST)/bin/python -m tests.load abuse $(ARGS)

# An old build folder may hold deleted modules, which setuptools would put into the wheel.
wheel: $(TEST_STAMP) ## build the wheel of unroll-rnn into dist/
	rm -rf build dist
	$(TEST)/bin/python -m pip wheel $(PIP_FLAGS) --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build

# Stamp files are written last, so that an interrupted installation is repeated.
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

# $(1): folder of the layer, $(2): its lock file. A .pth file adds the packages of the test environment, editable ones
# included; pip then installs only what is missing there.
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

$(RAY_STAMP): $(LOCKS)/engines/ray.txt $(TEST_STAMP) | check-python
	$(call INSTALL_LAYER,$(RAY),engines/ray.txt)

$(SPARK_STAMP): $(LOCKS)/engines/spark.txt $(TEST_STAMP) | check-python
	$(call INSTALL_LAYER,$(SPARK),engines/spark.txt)

$(CLIENTS)/%/.installed-$(KEY): $(LOCKS)/clients/%.txt | check-python
	@echo "installing the clients of $* into $(@D)"
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python $(INSTALL_LOCKED) $<
	@touch $@

# Random secrets, and this machine's number of cores. TRAIN_USER sets the owner of trained bundles.
FRESH_SECRET = $$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
NUM_CORES = $$(docker info --format '{{.NCPU}}')
.env: | check-docker
	@umask 077 && sed \
		-e "s|^UNROLL_STATE_KEYS=.*|UNROLL_STATE_KEYS=$(FRESH_SECRET)|" \
		-e "s|^GRAFANA_ADMIN_PASSWORD=.*|GRAFANA_ADMIN_PASSWORD=$(FRESH_SECRET)|" \
		-e "s|^SERVICE_CPUS=.*|SERVICE_CPUS=$(NUM_CORES)|" -e "s|^TRAIN_CPUS=.*|TRAIN_CPUS=$(NUM_CORES)|" \
		-e "s|^TRAIN_USER=.*|TRAIN_USER=$$(id -u):$$(id -g)|" .env.example > $@
	@echo 'wrote .env with new secrets'

check-docker:
	@command -v docker >/dev/null || { echo "docker is not installed: install Docker Engine with the compose plug-in, or Docker Desktop." >&2; exit 1; }
	@docker compose version >/dev/null 2>&1 || { echo "docker compose is not installed: install the compose plug-in." >&2; exit 1; }
	@docker info >/dev/null 2>&1 || { echo "the Docker engine does not respond: start it, or set DOCKER_HOST." >&2; exit 1; }

check-python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 to 3.14 was found. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c '$(PYTHON_IS_RIGHT)' || { echo "$(PYTHON) is not Python 3.11 to 3.14." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; }

# One resolution for all supported Pythons and platforms. The test environment is resolved first and constrains the
# others, so that the tests run the versions that are deployed. The files hold hashes and no addresses. Pinned versions
# are kept, unless UPGRADE=--upgrade asks for the newest.
UPGRADE ?=
COMPILE_LIST = $(LOCK)/bin/uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --custom-compile-command 'make lock'
COMPILE = $(COMPILE_LIST) \
	--override $(LOCKS)/no-torch.txt --no-emit-package torch pyproject.toml $(LOCKS)/build.in

lock: | check-python ## resolve the lock files from pyproject.toml; UPGRADE=--upgrade upgrades pinned versions
	@test -x $(LOCK)/bin/uv || { $(PYTHON) -m venv --clear $(LOCK) && $(LOCK)/bin/python -m pip install $(PIP_FLAGS) uv; }
	$(COMPILE) --extra cpu --extra training --extra test $(LOCKS)/torch-needs.in --output-file $(LOCKS)/test.txt
	$(COMPILE) --extra training $(LOCKS)/torch-needs.in --constraint $(LOCKS)/test.txt --output-file $(LOCKS)/training.txt
	$(COMPILE) --extra cpu --extra grpc --extra redis --extra tracing --constraint $(LOCKS)/test.txt --output-file $(LOCKS)/service-cpu.txt
	$(COMPILE) --extra gpu --extra grpc --extra redis --extra tracing --constraint $(LOCKS)/test.txt --output-file $(LOCKS)/service-gpu.txt
	$(COMPILE) --extra openvino --extra grpc --extra redis --extra tracing --constraint $(LOCKS)/test.txt --output-file $(LOCKS)/service-openvino.txt
	$(COMPILE) --extra tracking --constraint $(LOCKS)/test.txt --output-file $(LOCKS)/trackers.txt
	for list in $(basename $(wildcard $(LOCKS)/engines/*.in)); do $(COMPILE_LIST) --constraint $(LOCKS)/test.txt $$list.in --output-file $$list.txt || exit 1; done
	for list in $(basename $(wildcard $(LOCKS)/clients/*.in)); do $(COMPILE_LIST) $$list.in --output-file $$list.txt || exit 1; done

PROTO := service/api/protocols/open_inference/grpc_service/open_inference.proto
proto: $(TEST_STAMP) ## write the Python code of the gRPC service from its .proto file
	$(TEST)/bin/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. $(PROTO)

clean: ## remove environments, builds and caches; keeps models/ and runs/
	rm -rf $(SERVE) $(TEST) $(OPENVINO) $(TRACKERS) $(RAY) $(SPARK) $(CLIENTS) $(LOCK) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .cache/bench
	find service training tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +
