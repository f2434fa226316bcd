#!/usr/bin/env bash
# Runs a board's firmware in QEMU, the serial line on this terminal: run.sh BOARD ELF
#
# RIPPLE_CARD: a folder of boards/image.sh; without it target/boards/BOARD. QEMU_ARGS: more arguments.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
board=$1
elf=$(realpath "$2")
folder=${RIPPLE_CARD:-$root/target/boards/$board}
[ -e "$folder/card.img" ] || "$root/boards/image.sh" "$board"
cd "$folder"
# With -icount an instruction takes 2^shift ns of the board's time, whatever this machine does.
common=(-display none -audio none -serial "${QEMU_SERIAL:-mon:stdio}"
    -semihosting-config enable=on,target=native -kernel "$elf")
card=(-drive "if=sd,format=raw,file=card.img")
case $board in
lm3s6965evb) machine=(qemu-system-arm -M lm3s6965evb -icount shift=4 "${card[@]}") ;;
mps2-an386) machine=(qemu-system-arm -M mps2-an386 -icount shift=5) ;;
mps3-an547) machine=(qemu-system-arm -M mps3-an547 -icount shift=5) ;;
raspi3b) machine=(qemu-system-aarch64 -M raspi3b -icount shift=0 "${card[@]}") ;;
ast2600-evb)
    machine=(qemu-system-arm -M ast2600-evb -icount shift=0
        -drive "if=sd,index=2,format=raw,file=card.img")
    ;;
*)
    echo "QEMU has no machine for $board: use probe-rs" >&2
    exit 1
    ;;
esac
# shellcheck disable=SC2086
exec "${machine[@]}" "${common[@]}" ${QEMU_ARGS:-}
