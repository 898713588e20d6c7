#!/usr/bin/env bash
# Compile src/fabric.p4 into fabric.json and fabric.p4info.txtpb, and note which source they belong to, and what they were.
# Usage: compile.sh [P4C] [OUTPUT_DIRECTORY]
set -euo pipefail
cd "$(dirname "$0")"
p4c=${1:-p4c-bm2-ss}
out=$(cd "${2:-.}" && pwd)
command -v "$p4c" >/dev/null || { echo "compile.sh: $p4c is not on PATH" >&2; exit 1; }
# Paths inside the JSON are relative to this folder, so that the result is the same on every machine.
"$p4c" --std p4-16 \
    --p4runtime-files "$out/fabric.p4info.txtpb" -o "$out/fabric.json" src/fabric.p4
{
    (cd src && find . -name '*.p4' | LC_ALL=C sort | xargs sha256sum)
    (cd "$out" && sha256sum fabric.json fabric.p4info.txtpb)
} > "$out/fabric.sources.sha256"
