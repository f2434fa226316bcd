#!/usr/bin/env bash
# Checks the kernel's integer inner loops on three cores in QEMU, and prints what they cost in guest
# instructions, beside the portable loops. Fails when a loop is wrong or costs more than its limit.
set -euo pipefail
cd "$(dirname "$0")"
rustup target add thumbv7m-none-eabi thumbv7em-none-eabihf thumbv8m.main-none-eabihf >&2
target=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR=$target
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

(cd ../count && cargo build --release --locked >&2)
cores=(
    M3:thumbv7m-none-eabi:mps2-an385
    M4:thumbv7em-none-eabihf:mps2-an386
    M55:thumbv8m.main-none-eabihf:mps3-an547
)

# run CORE TRIPLE MACHINE WHAT LOG
run() {
    timeout 120 qemu-system-arm -M "$3" -kernel "$target/$2/release/ripple-kernels" \
        -display none -serial null -monitor none -audio none \
        -semihosting-config "enable=on,target=native,arg=ripple-kernels,arg=$4" \
        -plugin "$target/release/libripple_count.so" -d plugin -D "$5" >&2
}

for core in "${cores[@]}"; do
    IFS=: read -r name triple machine <<<"$core"
    cargo build --release --locked --target "$triple" >&2
    echo "$name ($machine)" >&2
    for what in check isa q4 portable; do
        run "$name" "$triple" "$machine" "$what" "$out/$name.$what"
    done
    # Counts are exact, or they are nothing: the same each time, and of a known number that number.
    grep -qx 'region 1 entered 1 instructions 100' "$out/$name.check" ||
        { echo "$name: 100 instructions were not counted as 100" >&2; exit 1; }
    for _ in 2 3; do
        run "$name" "$triple" "$machine" isa "$out/again"
        cmp "$out/$name.isa" "$out/again"
    done
done

awk -f table.awk "$out"/M3.* "$out"/M4.* "$out"/M55.*
