#!/usr/bin/env bash
# Runs a program on QEMU's ast2600-evb with the serial console on standard input and output.
# Usage: run.sh ELF [QEMU options]. CARD: the eMMC's image, card.img unless set, empty for no eMMC.
set -euo pipefail
elf=$1
shift
card=${CARD-card.img}
exec qemu-system-arm -M ast2600-evb -display none -serial stdio -monitor none -audio none \
    -semihosting-config enable=on,target=native \
    ${card:+-drive "if=sd,index=2,format=raw,file=$card"} -kernel "$elf" "$@"
