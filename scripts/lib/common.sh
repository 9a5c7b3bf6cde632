# What the scripts share: where things are, how to fail, what has to be installed, which positions to use.
# Sourced by bash scripts; sets root, target and no options of the shell.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
export CARGO_TARGET_DIR=$target

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Prints the comment block at the top of the running script as its help text.
help_text() {
    awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$0"
}

# Milliseconds of a clock that does not jump.
now_ms() {
    awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime
}

# 1234 -> 1.2 s; 83000 -> 1 min 23 s
duration() {
    if (($1 < 60000)); then
        printf '%d.%d s' $(($1 / 1000)) $(($1 % 1000 / 100))
    else
        printf '%d min %d s' $(($1 / 60000)) $(($1 % 60000 / 1000))
    fi
}

# Has tclsh the Tcl package of that name?
has_tcl_package() {
    echo "if {[catch {package require $1}]} {exit 1}" | tclsh >/dev/null 2>&1
}

# Is the thing that a Debian package of that name gives us here, however it came?
have_package() {
    case $1 in
    tcl) command -v tclsh >/dev/null ;;
    tcl-dev) compgen -G '/usr/include/tcl*/tcl.h' >/dev/null || [ -e /usr/include/tcl.h ] ;;
    libclang-dev) compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null || ldconfig -p | grep -q 'libclang[-.]' ;;
    tcl-thread) has_tcl_package Thread ;;
    tclx8.4) has_tcl_package Tclx ;;
    tcl8.6-tdbc-sqlite3) has_tcl_package tdbc::sqlite3 ;;
    libsqlite3-tcl) has_tcl_package sqlite3 ;;
    gcc) command -v cc >/dev/null ;;
    postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# need PACKAGE ...: installs what is missing with apt, or says what to install.
need() {
    local package missing=() sudo=()
    for package in "$@"; do
        have_package "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || fail "please install: ${missing[*]}"
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail "please install, as root: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    printf 'installing with apt: %s\n' "${missing[*]}" >&2
    # One after the other: stages run beside each other, and apt does not wait for itself.
    if ! (
        flock 9
        export DEBIAN_FRONTEND=noninteractive
        "${sudo[@]}" apt-get install -y -q "${missing[@]}" && exit
        "${sudo[@]}" apt-get update -q
        "${sudo[@]}" apt-get install -y -q "${missing[@]}"
    ) >>"$(log_file apt)" 2>&1 9>"$(log_file apt).lock"; then
        fail "apt-get could not install ${missing[*]}; see $(log_file apt)"
    fi
    for package in "${missing[@]}"; do
        have_package "$package" || fail "$package is installed, but what we need of it is not there"
    done
}

# Rust itself is not ours to install: people have it from rustup or their distribution.
need_rust() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust from https://rustup.rs"
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    have=$(rustc --version | awk '{ print $2 }')
    [ "$(printf '%s\n%s\n' "$wanted" "${have%%-*}" | sort -V | head -n 1)" = "$wanted" ] ||
        fail "Rust $wanted or newer is needed; this is $have"
}

# What building the Tcl package takes.
need_for_tcl() {
    need_rust
    need gcc tcl tcl-dev clang libclang-dev
}

# fuzz_tcl SECONDS ?option of scripts/install?: random commands against the installed package; what fails leaves its log beside those of stages.
fuzz_tcl() {
    need_for_tcl
    scripts/install --prefix "$target/package${2:-}" "${@:2}"
    cargo build --quiet -p aerostore_core --example verify
    AEROSTORE_TEST_PACKAGES=$target/package${2:-} AEROSTORE_VERIFY=$target/debug/examples/verify \
        tclsh aerostore_tcl/tests/fuzz/run.tcl -seconds "$1" -keep "$target/logs"
}

# What the tests of the Tcl package take besides.
need_for_tcl_tests() {
    need_for_tcl
    need libsqlite3-tcl tcl-thread tclx8.4 tcl8.6-tdbc-sqlite3
}

# log_file NAME: where the output of a stage or tool goes.
log_file() {
    mkdir -p "$target/logs"
    printf '%s/logs/%s.log' "$target" "$1"
}

# The real positions that tests use: AEROSTORE_POSITIONS, or ../shared/data/positions.tsv beside the repository. Prints the
# path, or nothing when there is no such file. The recording is not ours to ship, so a clone alone does not have it.
real_positions() {
    local path=${AEROSTORE_POSITIONS:-}
    if [ -n "$path" ]; then
        [ -r "$path" ] || fail "AEROSTORE_POSITIONS names $path, which cannot be read"
    else
        path=$root/../shared/data/positions.tsv
        [ -r "$path" ] || return 0
    fi
    realpath "$path"
}

# tclsh_script ARGUMENT ...: runs the Tcl script on the standard input; tclsh alone takes none with arguments.
tclsh_script() {
    tclsh /dev/stdin "$@"
}
