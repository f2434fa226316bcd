#!/usr/bin/env bash
# Builds the firmware in C of c-example, runs it in QEMU and compares every step's token and CRC of the
# logits with the traced story of tests/qemu/mps2-an386.txt, which the host checks: boards/test-c.sh
#
# Needs arm-none-eabi-gcc (setup.sh). LIMIT: seconds that the run may take.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
folder=$root/target/boards/mps2-an386
library=${CARGO_TARGET_DIR:-$root/kernel/c/target}/thumbv7em-none-eabihf/release/libripple_c.a

boards/image.sh mps2-an386
(cd kernel/c && cargo build --release --quiet --locked --target thumbv7em-none-eabihf \
    --no-default-features --features llama,pages)
mapped=$("${RIPPLE:-$root/target/tools/release/ripple}" plan --board mps2-an386 "$folder/model.img" \
    --tokens 1 --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["flash"]["mapped"])')

cd boards/c-example
arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 \
    -std=c11 -Wall -Wextra -Werror -Os -ffreestanding -ffunction-sections -fdata-sections \
    -I "$root/kernel/c/include" -I . -DFRONT_BYTES="$mapped" -Wa,-I"$folder" \
    -nostdlib -static -Wl,--gc-sections,--no-warn-rwx-segments,-z,noexecstack -T link.ld \
    main.c board.c front.S "$library" -o "$folder/c-example.elf"
arm-none-eabi-size "$folder/c-example.elf"
cd "$folder"
timeout "${LIMIT:-300}" qemu-system-arm -M mps2-an386 -display none -audio none -monitor none \
    -serial stdio -semihosting-config enable=on,target=native -kernel c-example.elf </dev/null |
    tr -d '\r' >c-example.txt || { cat c-example.txt && echo "QEMU: the example failed" >&2 && exit 1; }
# Position, token and CRC of the steps: what follows them is the token's text.
diff -u <(grep -E '^ +[0-9]+ +[0-9]+ [0-9a-f]{8} ' "$root/tests/qemu/mps2-an386.txt" |
    awk '{ print $1, $2, $3 }') <(awk '{ print $1, $2, $3 }' c-example.txt)
echo "c-example: $(wc -l <c-example.txt) steps as on the host"
