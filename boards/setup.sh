#!/usr/bin/env bash
# Installs what the boards need on Debian or a relative of it: compiler targets, QEMU, image tools.
#
# Run it as root or with sudo at hand; run again, it changes nothing. It ends with what is there, what
# is not and what that costs, and fails when an emulated board could not run.
# QEMU must be 9.2 or later (the instruction counter): where the release has an older one, its
# backports are added as a source, from the mirror that is in use already.
set -euo pipefail

targets=(thumbv7m-none-eabi thumbv7em-none-eabihf thumbv8m.main-none-eabihf armv7a-none-eabi
    aarch64-unknown-none)
least=9.2

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

qemu_version() {
    "$1" --version 2>/dev/null | sed -n '1s/.*version \([0-9]*\.[0-9]*\).*/\1/p'
}

# Whether QEMU program $1 is there and new enough.
has_qemu() {
    local version
    version=$(qemu_version "$1")
    [ -n "$version" ] && printf '%s\n%s\n' "$least" "$version" | sort -V -C
}

# The mirror that packages come from.
mirror() {
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\).*/\2/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list \
        2>/dev/null | grep '/debian/\?$' | head -1
}

install_packages() {
    command -v apt-get >/dev/null || return 0
    local packages=() release=()
    command -v mkfs.vfat >/dev/null || packages+=(dosfstools)
    command -v mcopy >/dev/null || packages+=(mtools)
    command -v python3 >/dev/null || packages+=(python3)
    command -v arm-none-eabi-gcc >/dev/null || packages+=(gcc-arm-none-eabi)
    if ! has_qemu qemu-system-arm || ! has_qemu qemu-system-aarch64; then
        packages+=(qemu-system-arm)
        # shellcheck disable=SC1091
        local name
        name=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
        if [ "$name" = bookworm ]; then
            release=(-t bookworm-backports)
            if ! grep -rqs bookworm-backports /etc/apt/sources.list /etc/apt/sources.list.d; then
                echo "deb $(mirror) bookworm-backports main" |
                    as_root tee /etc/apt/sources.list.d/backports.list >/dev/null
            fi
        fi
    fi
    [ ${#packages[@]} -gt 0 ] || return 0
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${release[@]}" "${packages[@]}"
}

rustup target add "${targets[@]}"
rustup component add llvm-tools rustfmt clippy
install_packages || echo "packages were not installed (not root, or no network)" >&2

missing=0
# Says whether $2... succeeds; else what does not work without $1.
check() {
    local what=$1 without=$2
    shift 2
    if "$@" >/dev/null 2>&1; then
        echo "  there    $what"
    else
        echo "  MISSING  $what: $without"
        missing=1
    fi
}
echo
echo "what the boards need:"
for target in "${targets[@]}"; do
    check "target $target" "rustup target add $target" test -d "$(rustc --print target-libdir --target "$target")"
done
check "QEMU >= $least, Arm" "no lm3s6965evb, mps2-an386, mps3-an547, ast2600-evb" has_qemu qemu-system-arm
check "QEMU >= $least, AArch64" "no raspi3b" has_qemu qemu-system-aarch64
check "python3" "test.sh cannot compare sizes" command -v python3
check "arm-none-eabi-gcc" "no firmware in C: test-c.sh" command -v arm-none-eabi-gcc
check "mtools" "no look into a FAT card by hand" command -v mcopy
check "dosfstools" "no check of a FAT card by hand" command -v mkfs.vfat
if command -v probe-rs >/dev/null; then
    echo "  there    probe-rs"
else
    echo "  not here probe-rs, which flashes real boards: cargo install probe-rs-tools --locked;"
    echo "           its udev rules and the debug probe itself are yours to set up"
fi
exit "$missing"
