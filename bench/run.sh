#!/usr/bin/env bash
# Prints every figure of bench/RESULTS.md: bench/run.sh [--long]. Needs a built release (make bench builds it) and about
# 5 GB under SCRATCH (default build/bench).
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=${SCRATCH:-build/bench}
mkdir -p "$scratch"
bin=build/release/bin
k2=$bin/k2
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(free -g | awk '/^Mem/{print $2}') GiB, $(date -u +%F)"
echo "== frames to messages, messages to columns (one core)"
for name in frame_bench decode_bench; do
  $bin/$name --benchmark_min_time=1 2>/dev/null | grep -E '^BM_|^[A-Z].*items_per_second' || true
done
echo "== layers, one core, commits included"
[ -f "$scratch/binance-3m.txt" ] || $k2 simulate --exchange binance --trades 3000000 --out "$scratch/binance-3m.txt"
taskset -c 0 $bin/layers_bench "$scratch/binance-3m.txt" "$scratch/layers"
echo "== all layers in one k2 run"
.venv/bin/python bench/pipeline.py "$scratch" "$@"
echo "== latency"
.venv/bin/python bench/latency.py "$scratch"
echo "== queries"
.venv/bin/python bench/query.py "$scratch"
echo "== the Python route on the same messages"
.venv/bin/python bench/python_route.py "$scratch"
