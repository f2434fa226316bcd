#!/usr/bin/env bash
# Runs a program on QEMU's raspi3b with the serial console on standard input and output.
# Usage: run.sh ELF [QEMU options]. CARD: the card's image, card.img unless set, empty for no card.
set -euo pipefail
elf=$1
shift
card=${CARD-card.img}
exec qemu-system-aarch64 -M raspi3b -display none -serial stdio -monitor none -audio none \
    -semihosting-config enable=on,target=native \
    ${card:+-drive "if=sd,format=raw,file=$card"} -kernel "$elf" "$@"
