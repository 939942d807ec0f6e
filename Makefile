# K2. `make` sets up and builds; `make demo` shows the pipeline at work; `make test` proves it. See README.md.
SHELL := /bin/bash

.PHONY: all dist setup setup-tests setup-services build stack-up stack-down stack-status spark-up spark-down spark-status demo test test-all chaos fuzz bench format lint clean
all: build

setup:
	@scripts/setup.sh

setup-tests:
	@scripts/setup.sh --tests

setup-services:
	@scripts/setup.sh --services

build: setup
	@scripts/build.sh release bin/k2

demo: build
	@scripts/demo.sh

test: setup-services
	@scripts/test.sh

test-all: setup-services
	@scripts/test.sh --all

chaos: setup-services build
	@K2_CHAOS_SCHEDULES=$(or $(SCHEDULES),300) .venv/bin/python -m pytest -s -m long tests/test_chaos.py -k "many_schedules or many_trips"

stack-up: setup-services
	@.venv/bin/python -m stack up

stack-down:
	@.venv/bin/python -m stack down

stack-status:
	@.venv/bin/python -m stack status

dist: build
	@scripts/build.sh release _k2_native
	@scripts/dist.sh

spark-up: setup-tests
	@.venv/bin/python -m stack up spark

spark-down:
	@.venv/bin/python -m stack down spark

spark-status:
	@.venv/bin/python -m stack status spark

fuzz: setup-tests
	@scripts/fuzz.sh $(or $(SECONDS_EACH),600)

bench: setup-tests
	@scripts/build.sh release
	@bench/run.sh

format: setup-tests
	@scripts/lint.sh --fix

lint: setup-tests
	@scripts/lint.sh

clean:
	rm -rf build
