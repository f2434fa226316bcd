#!/usr/bin/env bash
# What boards do when the card is missing, pulled, cut short or damaged, in QEMU: faults.sh [BOARD...]
#
# Needs python3. Each case is a QEMU run of seconds, driven over its serial line and its monitor by
# faults.py: the exact error must be said, and no token may differ from those of a run without faults.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
[ $# -gt 0 ] || set -- lm3s6965evb raspi3b ast2600-evb
for board in "$@"; do
    boards/image.sh "$board" >/dev/null
    folder=$root/target/boards/$board
    (cd "boards/$board" && RIPPLE_CARD=$folder cargo build --release --quiet)
    elf=$(find "${CARGO_TARGET_DIR:-boards/$board/target}/" -path "*/release/$board" -type f | head -1)
    timeout "${LIMIT:-600}" python3 boards/faults.py "$board" "$elf" "$folder"
done
