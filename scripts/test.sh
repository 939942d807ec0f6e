#!/usr/bin/env bash
# The test command behind `make test` and `make test-all`: scripts/test.sh [--all]
# Style checks, C++ tests (release, address and undefined-behaviour sanitizers, thread sanitizer for the modules that have
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
failed=() # what has failed, for the last lines: the rest of a log may be cut where it is read

# What a shell has set for K2 or its storage is not for tests; see also tests/skips.py.
knobs='K2_(BIN|SHARED_DATA|SEED|TEST_SERVICES|STORAGE_TEST|[A-Z]+_SCHEDULES)'
for name in $(compgen -e | grep -E '^(K2|AWS)_' || true); do
  [[ $name =~ ^$knobs$ ]] || unset "$name"
done

# Where CI=true, a skipped test has failed, but for these: root may write anywhere, tests/test_s3.py runs the S3 tests on
# a store, and the recordings are not part of the repository.
skips='storage/FileIoTest.ReadOnlyFolder|storage/S3FileIoTest|recording/All/RealRecording'
cxx_tests() { # PRESET [ctest's arguments]
  local preset=$1 file=$log/$1.log
  shift
  if ! ctest --test-dir "build/$preset" --output-on-failure -j2 "$@" > "$file" 2>&1; then
    tail -n 60 "$file"
    failed+=("C++ tests, $preset:" "$(sed -n '/The following tests FAILED/,$p' "$file")")
  fi
  local skipped
  skipped=$(grep -E ' \(Skipped\)$' "$file" | grep -vE "$skips") || true
  if [ "${CI:-}" = true ] && [ -n "$skipped" ]; then
    failed+=("C++ tests, $preset: skipped where CI=true, and scripts/test.sh does not list it:" "$skipped")
  fi
  summaries+=("$(grep -E '^[0-9]+% tests passed' "$file" || echo "$preset: no summary")")
}

say "style"
scripts/lint.sh

say "C++ tests, release"
scripts/build.sh release
cxx_tests release

say "C++ tests, address and undefined-behaviour sanitizers"
scripts/build.sh asan
cxx_tests asan

say "C++ tests, thread sanitizer"
scripts/build.sh tsan base_test net_test server_test catalog_test table_test recording_test kafka_test registry_test task_test pipeline_test maintenance_test
# Not Kafka's client: librdkafka was not built with the sanitizer, and dies in it.
TSAN_OPTIONS="suppressions=$PWD/scripts/tsan.supp report_mutex_bugs=0" cxx_tests tsan \
  -R '^(base|net|server|catalog|table|recording|kafka|registry|task|pipeline|maintenance)/' -E '^(kafka/Kafka|pipeline/KafkaSet)'

say "fuzzers"
seconds=5
[ $all -eq 1 ] && seconds=120
if ! scripts/fuzz.sh $seconds > "$log/fuzz.log" 2>&1; then
  failed+=("fuzzers:" "$(tail -n 60 "$log/fuzz.log")")
fi
grep -E '^fuzz: ' "$log/fuzz.log" || true

say "Python tests"
marks=(-m "not long")
[ $all -eq 1 ] && marks=(-m "")
.venv/bin/python -m pytest "${marks[@]}" tests || failed+=("Python tests: see above")

say "summary of the C++ tests"
printf '%s\n' "${summaries[@]}"
if [ ${#failed[@]} -ne 0 ]; then
  printf '%s\n' "${failed[@]}"
  echo "FAILED: see above, and $log"
  exit 1
fi
