#!/usr/bin/env bash
# Links firmware that calls all of ripple-kernel and ripple-hal, for every kind of core, and looks at it.
#
#   boards/check/check.sh              the first three of:
#   boards/check/check.sh panics       fails if anything in it can panic, and says what and from where
#   boards/check/check.sh sizes        prints bytes by crate and module; fails if the kernel is too large
#   boards/check/check.sh c            fails if anything in the C library (kernel/c) can panic
#   boards/check/check.sh driver       says the same of a board with embedded-sdmmc's SPI driver, fails never
#   boards/check/check.sh --self-test  shows that `panics` fails where it must
#
# `panics` and `sizes` take an opt-level as a second argument; without it they do `s` and `3`.
#
# Needs the targets below and the component llvm-tools (rustup).
set -euo pipefail
cd "$(dirname "$0")"

targets=(thumbv7m-none-eabi thumbv7em-none-eabihf thumbv8m.main-none-eabihf armv7a-none-eabi
    aarch64-unknown-none)
levels=(s 3)
if [ $# = 2 ]; then levels=("$2"); fi

# The size that must hold: everything that the decoder of one model family, tokenizer and sampler link,
# what they use of libm and compiler_builtins included, at the level that boards use.
limit=$((48 * 1024))
limit_target=thumbv7m-none-eabi
limit_level=s

llvm=$(echo "$(rustc --print sysroot)"/lib/rustlib/*/bin)
if ! [ -x "$llvm/llvm-nm" ]; then
    echo "llvm-nm is not in $llvm: rustup component add llvm-tools" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Whatever the panic handler is reached through.
panics='core::panicking|::panic_|begin_unwind|unwrap_failed|expect_failed|slice_error_fail|_fail(ed)?$|_fail_rt|a_panic_can_be_reached'

# build TARGET LEVEL FEATURES [arguments to rustc]: links and prints the path of the image.
build() {
    local target=$1 level=$2 features=$3
    shift 3
    CARGO_PROFILE_RELEASE_OPT_LEVEL=$level cargo rustc --quiet --locked --release \
        --target "$target" --no-default-features --features "$features" \
        --message-format json-render-diagnostics -- "$@" |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

# callers IMAGE: every call of something that panics, and from where.
callers() {
    "$llvm/llvm-objdump" -d -C --no-show-raw-insn "$1" | awk -v panics="$panics" '
        /^[0-9a-f]+ <.*>:$/ { name = substr($0, index($0, "<") + 1); name = substr(name, 1, length(name) - 2) }
        match($0, /<.*>/) && !/>:$/ {
            to = substr($0, RSTART + 1, RLENGTH - 2); sub(/\+0x[0-9a-f]+$/, "", to)
            if (to ~ panics && name !~ panics && name !~ /rust_begin_unwind/ && !seen[to, name]++) print "  " to "\n      from " name
        }'
}

# no_panics TARGET LEVEL FEATURES: fails if the image of these does not link without a panic.
no_panics() {
    local image
    if image=$(build "$@" 2>"$work/log"); then
        # The linker has said so already; by name as well, whatever the handler became.
        if ! "$llvm/llvm-nm" -C "$image" | grep -E "$panics"; then
            echo "$1, opt-level $2: no panic"
            return 0
        fi
    elif ! grep -q a_panic_can_be_reached "$work/log"; then
        cat "$work/log" >&2
        exit 1
    else
        image=$(build "$@" -Clink-arg=--defsym=a_panic_can_be_reached=0)
    fi
    echo "$1, opt-level $2: a panic can be reached:"
    callers "$image"
    return 1
}

check_panics() {
    local failed=0 target level
    for target in "${targets[@]}"; do
        for level in "${levels[@]}"; do
            no_panics "$target" "$level" default || failed=1
        done
    done
    return $failed
}

# c_panics TARGET LEVEL FEATURES: fails if a panic is left of the C library once all that its header
# declares is linked, and nothing else.
c_panics() {
    local library functions image=$work/c.elf
    library=$(cd ../../kernel/c && CARGO_PROFILE_RELEASE_OPT_LEVEL=$2 cargo build --quiet --locked \
        --release --target "$1" --features "$3" --message-format json-render-diagnostics |
        sed -n 's/.*"\([^"]*libripple_c\.a\)".*/\1/p') && [ -n "$library" ] || exit 1
    functions=$(grep -o '\<ripple_[a-z_]*(' ../../kernel/c/include/ripple.h | tr -d '(' | sort -u)
    if [[ $3 == *self-test* ]]; then functions+=" ripple_self_test"; fi
    # shellcheck disable=SC2086
    "$llvm/rust-lld" -flavor gnu --gc-sections -e ripple_open $(printf -- '-u %s ' $functions) \
        "$library" -o "$image" || exit 1
    if "$llvm/llvm-nm" -C "$image" | grep -E "$panics|rust_begin_unwind"; then
        echo "C library, $1, opt-level $2: a panic can be reached:"
        callers "$image"
        return 1
    fi
    echo "C library, $1, opt-level $2: no panic in $(wc -w <<<"$functions") functions, $(linked "$image") bytes"
}

check_c() {
    local failed=0 target level
    for target in "${targets[@]}"; do
        for level in "${levels[@]}"; do
            c_panics "$target" "$level" default || failed=1
        done
    done
    return $failed
}

self_test() {
    if c_panics "$limit_target" "$limit_level" self-test; then
        echo "self-test: an index out of range in the C library went unnoticed" >&2
        return 1
    fi
    if no_panics "$limit_target" "$limit_level" default,self-test; then
        echo "self-test: an index out of range went unnoticed" >&2
        return 1
    fi
    echo "self-test: noticed"
}

# owners IMAGE: bytes of code and constants, by crate, and by module of this project's.
owners() {
    "$llvm/llvm-nm" -C --print-size --radix=d "$1" | awk '
        NF > 3 && tolower($3) ~ /[tr]/ {
            name = $4; for (i = 5; i <= NF; i++) name = name " " $i
            # What is generic belongs to the first of the two it is made for.
            if (match(name, /ripple_(kernel|hal)::[a-z_0-9]+/)) owner = substr(name, RSTART, RLENGTH)
            else if (match(name, /^[<&*a-z\[\]; ]*[a-z_0-9]+::/)) {
                owner = substr(name, RSTART, RLENGTH - 2); sub(/.*[<&* \[]/, "", owner)
            } else if (name ~ /anon/) owner = "(constants)"
            else owner = "compiler_builtins"
            bytes[owner] += $2
        }
        END { for (owner in bytes) print owner, bytes[owner] }'
}

# linked IMAGE: bytes of code and constants.
linked() {
    "$llvm/llvm-size" -A "$1" | awk '$1 == ".text" || $1 == ".rodata" { sum += $2 } END { print sum }'
}

check_sizes() {
    local failed=0 level i image all
    local names=(llama opt both +tokenizer +sampler +fat +calibrate board)
    local features=(decoder,llama decoder,opt decoder,llama,opt
        decoder,llama,tokenizer decoder,llama,tokenizer,sampler
        decoder,llama,tokenizer,sampler,fat decoder,llama,tokenizer,sampler,fat,calibrate board,llama)
    for level in "${levels[@]}"; do
        echo
        echo "$limit_target, opt-level $level: bytes; +: added to llama; board: what a chat needs"
        : >"$work/table"
        for i in "${!names[@]}"; do
            image=$(build "$limit_target" "$level" "${features[i]}")
            owners "$image" | sed "s/^/$i /" >>"$work/table"
            # Without this package, whose code stands for the application's.
            all=$(($(linked "$image") - $(owners "$image" | sed -n 's/^ripple_check //p')))
            echo "$i ~all_but_ripple_check $all" >>"$work/table"
            if [ "${names[i]}" = +sampler ] && [ "$level" = "$limit_level" ] && [ "$all" -gt "$limit" ]; then
                failed=1
            fi
        done
        awk -v names="${names[*]}" '
            { bytes[$2, $1] = $3; owners[$2] }
            END {
                columns = split(names, name, " ")
                printf "%-28s", ""; for (i = 1; i <= columns; i++) printf " %10s", name[i]; print ""
                for (owner in owners) {
                    printf "%-28s", owner
                    for (i = 0; i < columns; i++) printf "%11d", bytes[owner, i]
                    print ""
                }
            }' "$work/table" | LC_ALL=C sort | sed "s/^~//"
    done
    echo
    if [ $failed = 1 ]; then
        echo "the kernel with one model family is larger than $limit bytes at opt-level $limit_level" >&2
    fi
    return $failed
}

# What others bring in: the driver borrows its state from a `RefCell`, which can panic, and says so itself.
driver() {
    local image
    image=$(build "$limit_target" "$limit_level" driver,llama -Clink-arg=--defsym=a_panic_can_be_reached=0)
    owners "$image" | LC_ALL=C sort | awk '{ printf "%-28s %10d\n", $1, $2 }'
    echo "all $(linked "$image")"
    callers "$image"
}

case "${1-all}" in
    panics) check_panics ;;
    sizes) check_sizes ;;
    c) check_c ;;
    driver) driver ;;
    --self-test) self_test ;;
    all) check_panics && check_sizes && check_c ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
