#!/usr/bin/env bash
# The main job, shown: a simulated market session of two exchanges (or RECORDING="binance=FILE kraken=FILE") through the
# whole pipeline into ./warehouse, and what can be asked of it.
set -euo pipefail
cd "$(dirname "$0")/.."
k2=build/release/bin/k2
trades=${TRADES:-1000000}
export K2_WAREHOUSE=${WAREHOUSE:-warehouse}

recordings=()
if [ -n "${RECORDING:-}" ]; then
  for recording in $RECORDING; do recordings+=(--recording "$recording"); done
else
  mkdir -p build/demo
  for exchange in binance kraken; do
    out=build/demo/$exchange-$trades.zst
    if [ ! -f "$out" ]; then
      $k2 simulate --exchange "$exchange" --trades "$trades" --seed 7 --out "$out.part.zst"
      mv "$out.part.zst" "$out"
    fi
    recordings+=(--recording "$exchange=$out")
  done
fi

printf '\n$ k2 run %s\n' "${recordings[*]}"
$k2 run "${recordings[@]}"
printf '\n$ k2 tables\n'
$k2 tables
printf '\n$ k2 query  (rejected rows by reason)\n'
$k2 query "SELECT reason, count(*) AS rows FROM rejected_trades GROUP BY reason ORDER BY rows DESC"
symbol=$($k2 query --output csv "SELECT symbol FROM gold_crypto_trades GROUP BY symbol ORDER BY count(*) DESC, symbol LIMIT 1" | tail -n 1 | tr -d '\r')
printf '\n$ k2 ohlcv %s --interval 1m --draw\n' "$symbol"
$k2 ohlcv "$symbol" --interval 1m --draw
cat <<EOT

Try next (export K2_WAREHOUSE=$K2_WAREHOUSE first):
  $k2 query "SELECT exchange, symbol, count(*), sum(quantity) FROM gold_crypto_trades GROUP BY ALL ORDER BY ALL"
  $k2 ohlcv $symbol --interval 5m --output csv
  $k2 tables describe gold_crypto_trades
  $k2 offsets show
  $k2 run ${recordings[*]}        # again: finds nothing to do
EOT
