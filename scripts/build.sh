#!/usr/bin/env bash
# Configures (once) and builds a CMake preset: scripts/build.sh PRESET [ninja target ...]
set -euo pipefail
cd "$(dirname "$0")/.."
# Objects of one clone serve another one on the same machine.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
preset=$1
shift
[ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" >/dev/null
exec flock "build/$preset/.lock" ninja -C "build/$preset" "$@"
