#!/usr/bin/env bash
# Formatting and clippy of every board, of what boards share and of the C library: lint.sh [FOLDER...]
set -euo pipefail
cd "$(dirname "$0")"
all=(*/Cargo.toml ../kernel/c/Cargo.toml)
folders=("$@")
[ $# -gt 0 ] || folders=("${all[@]%/Cargo.toml}")
for folder in "${folders[@]}"; do
    echo "$folder"
    (
        cd "$folder"
        cargo fmt --check
        # A library for one kind of core is checked with the boards that use it.
        case $folder in
        app | build | cortex-m | bare-a | marks) ;;
        check | kernels | ../kernel/c)
            cargo clippy --quiet --release --locked --target thumbv7em-none-eabihf -- -D warnings
            ;;
        *) cargo clippy --quiet --release --locked -- -D warnings ;;
        esac
    )
done
