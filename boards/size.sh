#!/usr/bin/env bash
# Sizes of a firmware in bytes, all of it and the kernel: size.sh ELF
#
# flash - mapped is code and constants. The kernel's is by symbol name: what was inlined elsewhere
# counts elsewhere.
set -euo pipefail
elf=$1
bin=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
"$bin/llvm-size" -A -d "$elf" | awk '
    $1 ~ /^\.(vector_table|text|rodata|ARM\.ex|boot|start_block|bi_entries|mapped)/ { flash += $2 }
    $1 ~ /^\.data/ { flash += $2; ram += $2 }
    $1 ~ /^\.(bss|uninit|dtcm)/ { ram += $2 }
    END { printf "flash %d\nstatics %d\n", flash, ram }'
"$bin/llvm-nm" --print-size --radix=d -C "$elf" | awk '
    $3 ~ /[tTrR]/ && /FRONT/ { mapped += $2; next }
    $3 ~ /[tT]/ && /ripple_kernel/ { kernel += $2 }
    END { printf "mapped %d\nkernel %d\n", mapped, kernel }'
