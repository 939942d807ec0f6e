#!/usr/bin/env bash
# Prints the figures of bench/RESULTS.md. Needs a built release (make bench builds it) and about 5 GB under SCRATCH
# (default build/bench).
#   bench/run.sh [--long]                           without servers
#   bench/run.sh --services [--quick] [--soak]      on Kafka, a REST catalog and S3 (scripts/setup.sh --services has
#       fetched them): rates, catch-up, latency, Spark and Python on the same topics, in about 12 minutes; --quick, 3
#       minutes, shows that they work; --soak adds 20 minutes at 100,000 messages a second and 30 GB
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=${SCRATCH:-build/bench}
services='' quick=() soak=''
for word in "$@"; do
  case $word in
    --services) services=1 ;;
    --quick) quick=(--quick) ;;
    --soak) soak=1 ;;
    --long) ;;
    *) sed -n '2,7s/^# \?//p' "$0" >&2; exit 2 ;;
  esac
done
mkdir -p "$scratch"
bin=build/release/bin
k2=$bin/k2
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(free -g | awk '/^Mem/{print $2}') GiB, $(date -u +%F)"
if [ -n "$services" ]; then
  echo "== Kafka to tables on a REST catalog and S3"
  .venv/bin/python bench/kafka_pipeline.py "$scratch" "${quick[@]}"
  echo "== latency from Kafka"
  .venv/bin/python bench/kafka_latency.py "$scratch" "${quick[@]}"
  echo "== K2, Spark and Python on the same topics"
  .venv/bin/python bench/kafka_peers.py "$scratch" "${quick[@]}"
  echo "== layers on Spark, native engine and DataFrames"
  .venv/bin/python bench/spark_layers.py "$scratch" "${quick[@]}"
  if [ -n "$soak" ]; then
    echo "== soak"
    .venv/bin/python bench/soak.py "$scratch" "${quick[@]}"
  fi
  exit
fi
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
