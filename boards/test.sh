#!/usr/bin/env bash
# Builds boards, runs them in QEMU and compares what they say: boards/test.sh [--update] [BOARD...]
#
# Every line must be that of tests/qemu/BOARD.txt: token by token, the CRC of the logits of every
# step, reads and bytes. Lines that begin with `# ` tell what depends on the machine and are not
# compared. The files are what the same main loop says on this machine (`ripple console`), which is
# compared too; --update writes them anew. RAM and flash must be what `ripple plan` says.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
export RIPPLE=${RIPPLE:-$root/target/release/ripple}
update=
if [ "${1:-}" = --update ]; then
    update=yes
    shift
fi
qemu=(lm3s6965evb mps2-an386 mps3-an547 raspi3b raspi3b-novel-opt ast2600-evb)
real=(pico2 pico2-embassy stm32h743 nrf52840)
tests=("$@")
[ $# -gt 0 ] || tests=("${qemu[@]}" "${real[@]}")
failed=()

# What a board or the host said, without what depends on the machine.
compared() {
    tr -d '\r' <"$1" | grep -v '^# ' || true
}

# Waits until file $1 has a line like $2.
wait_for() {
    for _ in $(seq 600); do
        if grep -qa -- "$2" "$1"; then return 0; fi
        sleep 0.1
    done
    echo "no line like '$2' within a minute" >&2
    return 1
}

# Runs firmware $2 of board $1 with the card of folder $3 on the lines of $4; says what it said to $5.
converse() {
    local board=$1 elf=$2 folder=$3 input=$4 output=$5 line=$3/serial
    rm -f "$line"
    mkfifo "$line"
    : >"$output"
    RIPPLE_CARD=$folder timeout "${LIMIT:-300}" boards/run.sh "$board" "$elf" <"$line" >"$output" &
    local pid=$!
    exec 3>"$line"
    # What is typed before the UART is set up is lost, on silicon too.
    wait_for "$output" '^> ' && cat "$input" - >&3 <<<$'\004' || true
    exec 3>&-
    wait $pid || echo "QEMU: exit $?"
}

fail() {
    echo "FAILED: $1" >&2
    failed+=("$1")
}

for name in "${tests[@]}"; do
    board=${name%-novel-opt}
    model=${name#"$board"}
    folder=$root/target/boards/$name
    echo "== $name"
    boards/image.sh "$board" ${model:+"${model#-}"}
    if ! (cd "boards/$board" && RIPPLE_CARD=$folder cargo build --release --quiet); then
        fail "$name: build"
        continue
    fi
    elf=$(find "${CARGO_TARGET_DIR:-boards/$board/target}" -path "*/release/$board" -type f | head -1)
    size=$(boards/size.sh "$elf" "$folder/model.img")
    echo "$size"
    [ -e "tests/qemu/$name.in" ] || continue
    expected=tests/qemu/$name.txt
    "$RIPPLE" console "$folder/model.img" --board "$board" <"tests/qemu/$name.in" >"$folder/host.txt"
    [ -z "$update" ] || compared "$folder/host.txt" >"$expected"
    diff -u "$expected" <(compared "$folder/host.txt") || fail "$name: the host differs"
    converse "$board" "$elf" "$folder" "tests/qemu/$name.in" "$folder/board.txt"
    diff -u "$expected" <(compared "$folder/board.txt") || fail "$name: the board differs"
    grep -a '^# ' "$folder/board.txt" | tr -d '\r'
done

if [ ${#failed[@]} -gt 0 ]; then
    printf '%s\n' "${failed[@]}"
    exit 1
fi
echo "${#tests[@]} boards passed"
