# make demo   the main job on the embedded default
# make test   all tests
# make quick  the tests that need neither minutes nor a browser
# make lint   style, types, and which room may import which; of the report's JavaScript, too, where there is npm
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NPM := $(shell command -v npm)

.PHONY: demo test quick lint browser clean

demo: $(VENV)/.base
	$(BIN)/conceptprobe demo --out demo

test: $(VENV)/.test lint browser
	$(BIN)/python recipes/dinov2.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

quick: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not slow and not browser and not real'

lint: $(VENV)/.test $(if $(NPM),node_modules/.package-lock.json)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
ifdef NPM
	npm run --silent lint
else
	@echo 'npm is not installed: the JavaScript of the report is not checked'
endif

# Chromium for the browser tests: the system's, Debian's package, or the one that playwright downloads.
browser: $(VENV)/.test
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } \
	|| $(BIN)/playwright install chromium

$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[cpu]'
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --editable '.[cpu,test]'
	touch $@

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --silent --no-audit --no-fund

clean:
	rm -rf $(VENV) node_modules build dist demo
