#!/usr/bin/env bash
# Makes what a board reads: image.sh BOARD [MODEL]
#
# target/boards/BOARD (or BOARD-MODEL) gets model.img, the image, and card.img, the card or file with
# the image on it. RIPPLE: the `ripple` binary; without it one is built, in a target directory of its
# own, because a build script that calls this holds the lock of the usual one.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
board=$1
model=${2:-}
folder=$root/target/boards/$board${model:+-$model}
if [ -z "${RIPPLE:-}" ]; then
    cargo build --release --quiet --manifest-path "$root/Cargo.toml" -p ripple-host-sim \
        --target-dir "$root/target/tools"
    RIPPLE=$root/target/tools/release/ripple
fi
mkdir -p "$folder"
"$RIPPLE" image ${model:+"$model"} --board "$board" -o "$folder/model.img"
case $board in
lm3s6965evb | pico2 | pico2-embassy | stm32h743 | raspi3b)
    "$RIPPLE" card "$folder/model.img" -o "$folder/card.img" --layout fat32 --yes
    ;;
ast2600-evb)
    "$RIPPLE" card "$folder/model.img" -o "$folder/card.img" --layout raw --yes
    ;;
*) cp "$folder/model.img" "$folder/card.img" ;;
esac
