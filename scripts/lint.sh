#!/usr/bin/env bash
# Formatting, include order and Python checks.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files 'src/*.h' 'src/*.cc' 'python/native/*.h' 'python/native/*.cc' | xargs clang-format-19 --dry-run -Werror
python3 scripts/check_includes.py
.venv/bin/ruff check --quiet .
.venv/bin/ruff format --check --quiet .
echo "style: ok"
