#!/usr/bin/env bash
# Builds boards, runs them in QEMU and compares what they say:
# boards/test.sh [--update] [--count] [BOARD...]
#
# Every line must be that of tests/qemu/BOARD.txt: token by token, the CRC of the logits of every
# step, reads and bytes. Lines that begin with `# ` tell what depends on the machine and are not
# compared. The files are what the same main loop says on this machine (`ripple console`), which is
# compared too; --update writes them anew. RAM and flash must be what `ripple plan` says: see `planned`.
# Boards without a file there are built only. --count prints guest instructions a token by region. LIMIT: seconds that a board may take.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
export RIPPLE=${RIPPLE:-$root/target/release/ripple}
update= count=
while [[ ${1:-} == --* ]]; do
    case $1 in
    --update) update=yes ;;
    --count) count=yes ;;
    *) echo "usage: boards/test.sh [--update] [--count] [BOARD...]" >&2 && exit 2 ;;
    esac
    shift
done
plugin=${CARGO_TARGET_DIR:-$root/boards/count/target}/release/libripple_count.so
if [ -n "$count" ]; then
    (cd boards/count && cargo build --release --quiet --locked)
    export QEMU_ARGS="-plugin $plugin -d plugin -D counts.txt"
fi
rows=()
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

# Compares board $1's sizes (file $2) and stack ($3, empty where it did not run) with `ripple plan` for
# image $4. Statics must be equal, but for the 32 bytes by which another model's regions are aligned. Code
# may differ by 1 KiB (compilers) and the stack by 128 bytes: an interrupt on top of the deepest call, or
# not.
planned() {
    "$RIPPLE" plan --board "$1" "$4" --tokens 1 --json | python3 -c '
import json, sys
plan = json.load(sys.stdin)
size = dict(line.split() for line in open(sys.argv[1]))
code = int(size["flash"]) - int(size["mapped"])
drivers = int(size["statics"]) - plan["ram"]["statics"] + plan["ram"]["drivers"]
stack = int(sys.argv[2] or plan["ram"]["stack"])
print("planned flash %d RAM %d = statics %d + stack %d" % (plan["flash"]["used"],
    plan["ram"]["used"], plan["ram"]["statics"], plan["ram"]["stack"]))
if (abs(drivers - plan["ram"]["drivers"]) > 32 or abs(code - plan["flash"]["code"]) > 1024
        or abs(stack - plan["ram"]["stack"]) > 128):
    sys.exit("boards/app/src/board.rs must say: Firmware { code: %d, drivers: %d, stack: %d }"
             % (code, drivers, stack if sys.argv[2] else 0))
' "$2" "$3"
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
    elf=$(find "${CARGO_TARGET_DIR:-boards/$board/target}/" -path "*/release/$board" -type f | head -1)
    size=$folder/size.txt
    boards/size.sh "$elf" >"$size"
    cat "$size"
    if [ ! -e "tests/qemu/$name.in" ]; then
        planned "$board" "$size" "" "$folder/model.img" || fail "$name: sizes"
        continue
    fi
    expected=tests/qemu/$name.txt
    "$RIPPLE" console "$folder/model.img" --board "$board" <"tests/qemu/$name.in" >"$folder/host.txt"
    [ -z "$update" ] || compared "$folder/host.txt" >"$expected"
    diff -u "$expected" <(compared "$folder/host.txt") || fail "$name: the host differs"
    converse "$board" "$elf" "$folder" "tests/qemu/$name.in" "$folder/board.txt"
    diff -u "$expected" <(compared "$folder/board.txt") || fail "$name: the board differs"
    grep -a '^# ' "$folder/board.txt" | tr -d '\r'
    stack=$(sed -n 's/^# ram .* \([0-9,]*\) stack .*/\1/p' "$folder/board.txt" | tr -d , | sort -n | tail -1)
    planned "$board" "$size" "${stack:-0}" "$folder/model.img" || fail "$name: sizes"
    [ -z "$count" ] || rows+=("$(awk -v name="$name" -f boards/count/table.awk \
        "$folder/board.txt" "$folder/counts.txt")")
done

# A model that does not fit fails the build, with the part and the bytes missing.
large=$root/target/boards/mps2-an386
if [[ " ${tests[*]} " == *" lm3s6965evb "* && -e $large/model.img ]]; then
    echo "== lm3s6965evb with novel-small, which is too large"
    if (cd boards/lm3s6965evb && RIPPLE_CARD=$large cargo build --release --quiet 2>"$large/error.txt"); then
        fail "lm3s6965evb: built with a model that does not fit"
    fi
    grep -A1 'ram of lm3s6965evb: needs [0-9]* bytes, has 61440: [0-9]* missing' "$large/error.txt" ||
        fail "lm3s6965evb: says not what is missing"
fi

if [ -n "$count" ]; then
    echo "Thousands of guest instructions a token (emulated), then reads and KiB a token after the prompt:"
    echo "| board | predictor | FFN | attention | head | card driver | embedding | reads | KiB |"
    echo "|---|---|---|---|---|---|---|---|---|"
    printf '%s\n' "${rows[@]}"
fi

if [ ${#failed[@]} -gt 0 ]; then
    printf '%s\n' "${failed[@]}"
    exit 1
fi
echo "${#tests[@]} boards passed"
