#!/usr/bin/env bash
# Formatting, include order and Python checks of the files that git tracks; what else lies in the folder does not count.
# --fix: mends what the tools can mend.
set -euo pipefail
cd "$(dirname "$0")/.."
tracked() { git ls-files -z "$@"; }
cxx=('src/*.h' 'src/*.cc' 'python/native/*.h' 'python/native/*.cc')
python=('*.py' '*.pyi')
if [ "${1:-}" = --fix ]; then
  tracked "${cxx[@]}" | xargs -0 clang-format-19 -i
  tracked "${python[@]}" | xargs -0 .venv/bin/ruff check --quiet --fix || true  # what it cannot mend is told below
  tracked "${python[@]}" | xargs -0 .venv/bin/ruff format --quiet
fi
tracked "${cxx[@]}" | xargs -0 clang-format-19 --dry-run -Werror
python3 scripts/check_includes.py
tracked "${python[@]}" '*pyproject.toml' | xargs -0 .venv/bin/ruff check --quiet
tracked "${python[@]}" | xargs -0 .venv/bin/ruff format --check --quiet
echo "style: ok"
