#!/usr/bin/env bash
# The test command behind `make test` and `make test-all`: scripts/test.sh [--all]
# Style checks, C++ tests (release, address and undefined-behaviour sanitizers, thread sanitizer for the rooms that have
# threads), a short run of every fuzzer, then the Python tests against the built program. Ends with the runners' own
# summary lines.
set -euo pipefail
cd "$(dirname "$0")/.."
all=0
[ "${1:-}" = --all ] && all=1
log=build/test-logs
mkdir -p "$log"

say() { printf '\n== %s\n' "$*"; }
summaries=()
failed=0

say "style"
scripts/lint.sh

say "C++ tests, release"
scripts/build.sh release
ctest --test-dir build/release --output-on-failure -j2 > "$log/release.log" 2>&1 || { failed=1; tail -n 60 "$log/release.log"; }
summaries+=("$(grep -E '^[0-9]+% tests passed' "$log/release.log" || echo 'release: no summary')")

say "C++ tests, address and undefined-behaviour sanitizers"
scripts/build.sh asan
ctest --test-dir build/asan --output-on-failure -j2 > "$log/asan.log" 2>&1 || { failed=1; tail -n 60 "$log/asan.log"; }
summaries+=("$(grep -E '^[0-9]+% tests passed' "$log/asan.log" || echo 'asan: no summary')")

say "C++ tests, thread sanitizer"
scripts/build.sh tsan base_test serve_test catalog_test table_test source_test task_test medallion_test maintain_test
# Not Kafka's client: librdkafka was not built with the sanitizer, and dies in it.
TSAN_OPTIONS="suppressions=$PWD/scripts/tsan.supp report_mutex_bugs=0" ctest --test-dir build/tsan --output-on-failure -R '^(base|serve|catalog|table|source|task|medallion|maintain)/' -E '^(source/Kafka|medallion/KafkaSet)' > "$log/tsan.log" 2>&1 || { failed=1; tail -n 60 "$log/tsan.log"; }
summaries+=("$(grep -E '^[0-9]+% tests passed' "$log/tsan.log" || echo 'tsan: no summary')")

say "fuzzers"
seconds=5
[ $all -eq 1 ] && seconds=120
scripts/fuzz.sh $seconds > "$log/fuzz.log" 2>&1 || { failed=1; tail -n 60 "$log/fuzz.log"; }
grep -E '^fuzz: ' "$log/fuzz.log" || true

say "Python tests"
marks=(-m "not long")
[ $all -eq 1 ] && marks=(-m "")
.venv/bin/python -m pytest -q "${marks[@]}" tests || failed=1

say "summary of the C++ tests"
printf '%s\n' "${summaries[@]}"
if [ $failed -ne 0 ]; then
  echo "FAILED: see above, and $log"
  exit 1
fi
