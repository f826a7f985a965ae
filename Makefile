# What each target does: make help. Everything is set up on first use.

# The interpreter: the newest that fits, or the one you name (make test PYTHON=python3.12),
# which then gets an environment of its own.
VENV = .venv$(if $(PYTHON),-$(notdir $(PYTHON)))
CANDIDATES = $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3.10 python3 python)
FITS = import sys; assert sys.version_info >= (3, 10); import venv, ensurepip

# Set-up belongs to the user who calls it, under sudo too. Root then writes no caches here.
AS_CALLER = -IB tools/as_caller.py
ifdef SUDO_USER
export PYTHONDONTWRITEBYTECODE = 1
export PYTEST_ADDOPTS += -p no:cacheprovider
ELSEWHERE = scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT INT TERM; \
	export COVERAGE_FILE="$$scratch/coverage" HYPOTHESIS_STORAGE_DIRECTORY="$$scratch";
endif

RUN = $(VENV)/bin/python
SETUP = PYTHONWARNINGS=ignore $(RUN) $(AS_CALLER) \
	$(RUN) -m pip --disable-pip-version-check -q --retries 2 install
OFFLINE = { echo "Setting up $(VENV) failed, see above. It needs the network once." >&2; exit 1; }

# What the installed package is made of: a change here installs it anew.
SOURCES = pyproject.toml $(wildcard setup.py aiotun/native/src/*.[ch] aiotun/native/src/*/*.h)

# A dependency group of pyproject.toml, as it is locked.
LOCKED = --require-hashes -r requirements/
LOCKS = build uvloop dev docs wheels kernels phones windows bench

COVERED = $(dir $(wildcard $(patsubst %,aiotun/%/__init__.py,aead offload codecs transports udp)))
MEASURED = $(COVERED:aiotun/%=tests/%) tests/platforms/bsd tests/test_endpoints.py tests/test_relay.py tests/test_streams.py

.DELETE_ON_ERROR:
.PHONY: help demo test report interop phones lint types docs wheels coverage fuzz sanitize sanitize-threads kernels windows bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/installed ## see it work: a TUN device behind a Python protocol, real traffic
	@$(RUN) -m aiotun demo

test: $(VENV)/developer ## run all tests that this machine allows, list what it skipped and why
	@$(ELSEWHERE) $(RUN) -m pytest

report: $(VENV)/installed ## run what needs the real kernel, as root, and print a report to send in
	@$(RUN) -m tools.report

# The peers are built before: the tests run in a namespace from which no registry is reached.
interop: $(VENV)/kernels ## run the tests with outside tools and peers (iperf3, tshark, wireguard-go)
	@$(RUN) $(AS_CALLER) $(RUN) -m benchmarks.wireguard.programs
	@! command -v cargo >/dev/null || $(RUN) $(AS_CALLER) \
		cargo build --release --locked --quiet --manifest-path tests/codecs/tokio-peer/Cargo.toml
	@$(ELSEWHERE) $(RUN) -m pytest -m interop

lint: $(VENV)/developer ## ruff: style and mistakes
	@$(RUN) $(AS_CALLER) $(RUN) -m ruff check .
	@$(RUN) $(AS_CALLER) $(RUN) -m ruff format --check .

types: $(VENV)/developer ## mypy --strict: all of it for Linux, the package for every system
	@$(RUN) $(AS_CALLER) $(RUN) -m mypy
	@for system in win32 darwin freebsd netbsd openbsd android ios; do \
		$(RUN) $(AS_CALLER) $(RUN) -m mypy --platform $$system aiotun || exit; \
	done

phones: $(VENV)/phones ## check the apps of examples/phones as far as it goes (needs Java and Maven, Node and npm)
	@mvn --batch-mode --quiet --file tests/examples/android/pom.xml compile
	@mkdir -p build/phones && cp tests/examples/openharmony/package*.json build/phones
	@npm ci --prefix build/phones --ignore-scripts --no-audit --no-fund --silent
	@NODE_PATH=build/phones/node_modules node tests/examples/openharmony/check.js
	@$(RUN) $(AS_CALLER) $(RUN) tests/examples/ios/parse.py

docs: $(VENV)/docs ## build the documentation as a site, in build/docs; warnings are errors
	@$(RUN) $(AS_CALLER) $(RUN) -m sphinx -q -E -W --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

wheels: $(VENV)/wheels ## build the distributions in build/wheels as users get them, check and use them
	@$(RUN) $(AS_CALLER) $(RUN) -m tools.wheels

coverage: $(VENV)/developer ## branch coverage by their own tests: aead, offload, codecs, transports, udp 95 % or more each
	@$(ELSEWHERE) $(RUN) -m coverage run -m pytest $(MEASURED) && \
	for part in $(COVERED); do \
		$(RUN) -m coverage report --fail-under=95 --skip-covered --include="$$part*" || exit; \
	done

fuzz: $(VENV)/developer ## mutate messages to the WireGuard endpoint for ten minutes
	@$(RUN) $(AS_CALLER) $(RUN) -m tests.support.fuzz_wireguard --seconds 600

sanitize: $(VENV)/developer ## test the native module under the address and undefined-behaviour sanitizers
	@tools/sanitize.sh $(RUN)

sanitize-threads: $(VENV)/developer ## test threads, and the native module in them, under the thread sanitizer
	@tools/sanitize.sh --threads $(RUN)

kernels: $(VENV)/kernels ## run the tests that ask the kernel on Debian's kernels, under qemu (an hour)
	@$(RUN) -m tools.kernels $(KERNELS)

windows: $(VENV)/windows ## run the tests on Python for Windows, under wine
	@$(RUN) -m tools.windows $(TESTS)

bench: $(VENV)/bench ## measure beside the peers (hours; BENCH=--quick: two minutes; PART=flows: ten)
	@$(RUN) -m benchmarks$(addprefix .,$(PART)) $(BENCH)

# One file fits each Python, for all systems: it names what each of them takes.
lock: $(VENV)/installed ## pin the newest dependencies of development, with their hashes
	@$(SETUP) --group lock || $(OFFLINE)
	@for group in $(LOCKS); do \
		$(RUN) $(AS_CALLER) $(RUN) -m uv pip compile -q --upgrade --universal --python-version 3.10 \
			--generate-hashes --no-annotate --custom-compile-command "make lock" \
			--group $$group -o requirements/$$group.txt || exit; \
	done

clean: ## remove all that the other targets made
	rm -rf .venv* build aiotun/native/*.so *.egg-info benchmarks/peers/*/target .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find aiotun benchmarks tests examples tools -name __pycache__ -prune -exec rm -rf {} +

# The environments. A stamp makes the second run instant; nothing is fetched twice.

$(RUN):
	@for python in $(CANDIDATES); do \
		if "$$python" $(AS_CALLER) "$$python" -c '$(FITS)' 2>/dev/null; then \
			echo "Setting up $(VENV) with $$("$$python" -V) (once; needs the network)"; \
			exec "$$python" $(AS_CALLER) "$$python" -m venv $(VENV); \
		fi; \
	done; \
	echo "No fit Python among: $(CANDIDATES)." >&2; \
	echo "aiotun needs Python 3.10 or later with its venv module" >&2; \
	echo "(Debian, Ubuntu: apt-get install python3-venv; or name one: make PYTHON=...)." >&2; \
	exit 1

$(VENV)/installed: $(SOURCES) requirements/build.txt requirements/uvloop.txt | $(RUN)
	@$(SETUP) $(LOCKED)build.txt || $(OFFLINE)
	@$(SETUP) --no-build-isolation -e . || $(OFFLINE)
	@$(SETUP) $(LOCKED)uvloop.txt || \
		echo "Without uvloop, then: asyncio's own loop does the work."
	@$(RUN) $(AS_CALLER) touch $@

$(VENV)/developer: requirements/dev.txt $(VENV)/installed
	@$(SETUP) $(LOCKED)dev.txt || $(OFFLINE)
	@$(RUN) $(AS_CALLER) $(RUN) -m tools.built
	@$(RUN) $(AS_CALLER) touch $@

$(VENV)/docs: requirements/docs.txt $(VENV)/developer
	@$(SETUP) $(LOCKED)docs.txt || $(OFFLINE)
	@$(RUN) $(AS_CALLER) touch $@

$(VENV)/wheels: requirements/wheels.txt $(VENV)/developer
	@$(SETUP) $(LOCKED)wheels.txt || $(OFFLINE)
	@$(RUN) $(AS_CALLER) touch $@

$(VENV)/kernels: requirements/kernels.txt $(VENV)/developer
	@$(SETUP) $(LOCKED)kernels.txt || $(OFFLINE)
	@$(RUN) $(AS_CALLER) touch $@

$(VENV)/phones: requirements/phones.txt $(VENV)/installed
	@$(SETUP) $(LOCKED)phones.txt || $(OFFLINE)
	@$(RUN) $(AS_CALLER) touch $@

$(VENV)/windows: requirements/windows.txt $(VENV)/developer
	@$(SETUP) $(LOCKED)windows.txt || $(OFFLINE)
	@$(RUN) $(AS_CALLER) touch $@

$(VENV)/bench: requirements/bench.txt $(VENV)/developer
	@$(SETUP) $(LOCKED)bench.txt || $(OFFLINE)
	@$(RUN) $(AS_CALLER) touch $@
