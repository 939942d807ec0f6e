#!/usr/bin/env bash
# Builds every fuzzer (src/*/*_fuzz.cc) with clang and runs each: scripts/fuzz.sh SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
scripts/build.sh fuzz $(git ls-files 'src/*_fuzz.cc' | xargs -n1 basename | sed 's/\.cc$//')
for source in $(git ls-files 'src/*_fuzz.cc'); do
  name=$(basename "$source" .cc)
  corpus=build/fuzz/corpus/$name
  mkdir -p "$corpus"
  shopt -s nullglob
  seeds=("$(dirname "$source")"/*/corpus)
  shopt -u nullglob
  build/fuzz/bin/"$name" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=20 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/$name-" "$corpus" ${seeds[@]+"${seeds[@]}"} 2> "build/fuzz/$name.log" || { tail -n 40 "build/fuzz/$name.log"; exit 1; }
  printf 'fuzz: %s %s\n' "$name" "$(grep -o 'number_of_executed_units: .*' "build/fuzz/$name.log" || true)"
done
