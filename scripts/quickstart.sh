#!/usr/bin/env bash
# Builds Turnpike and starts the quickstart: a Cloud Gate, a sample backend and a gateway. Needs Rust and a C compiler.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/quickstart.sh [--folder FOLDER] [--port PORT]

Builds the release binary (the first time takes some minutes), then runs `turnpike quickstart`:
a local Cloud Gate, a sample backend and a gateway, ready to try. Ctrl-C stops everything.

Options are passed on:
  --folder FOLDER  where definitions, reports and the certificate are kept [default: .turnpike/quickstart]
  --port PORT      gateway port; a free one is taken when it is in use [default: 8082]
  -h, --help       this text
TEXT
}

fail() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

for argument in "$@"; do
    case "$argument" in
        -h | --help)
            usage
            exit 0
            ;;
    esac
done

command -v cargo >/dev/null 2>&1 ||
    fail 'cargo was not found' 'install Rust from https://rustup.rs, then open a new shell'
command -v "${CC:-cc}" >/dev/null 2>&1 ||
    fail "the C compiler ${CC:-cc} was not found" 'install one, for example: apt-get install build-essential'

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

# cargo knows where the binary goes; a target folder of the caller (CARGO_TARGET_DIR, build.target-dir) is honoured.
cargo build --release --locked --bin turnpike --manifest-path "$root/Cargo.toml"
target="$(cargo metadata --format-version 1 --no-deps --offline --manifest-path "$root/Cargo.toml" |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')"
[ -x "$target/release/turnpike" ] ||
    fail "the binary was not found in $target/release" 'unset CARGO_BUILD_TARGET, which moves it elsewhere'

exec "$target/release/turnpike" quickstart "$@"
