# K2. `make` sets up and builds; `make demo` shows the pipeline at work; `make test` proves it. See README.md.
SHELL := /bin/bash

.PHONY: all setup build demo test test-all fuzz bench format lint clean
all: build

setup:
	@scripts/setup.sh

build: setup
	@scripts/build.sh release bin/k2

demo: build
	@scripts/demo.sh

test: setup
	@scripts/test.sh

test-all: setup
	@scripts/test.sh --all

fuzz: setup
	@scripts/fuzz.sh $(or $(SECONDS_EACH),600)

bench: setup
	@scripts/build.sh release
	@bench/run.sh

format:
	git ls-files 'src/*.h' 'src/*.cc' | xargs clang-format-19 -i
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

lint: setup
	@scripts/lint.sh

clean:
	rm -rf build
