#!/usr/bin/env bash
# Runs every check of this repository, on a laptop as in CI. Needs Rust and a C compiler, and no network but cargo's.
set -euo pipefail
shopt -s inherit_errexit

all_steps=(tidy fmt clippy doc test deny)

usage() {
    cat <<'TEXT'
Usage: scripts/test.sh [STEP…]

Runs the named steps, or all of them in this order:
  tidy    house rules that no compiler checks: file sizes, leftovers, links in documents, dependency directions
  fmt     formatting
  clippy  lints of every target, benches and tests included; warnings are errors
  doc     documentation; warnings are errors
  test    every test of the workspace, documentation examples included
  deny    licences, bans and sources of dependencies, when cargo-deny is installed

What is missing is installed when that is possible (rustup for Rust components, apt-get as root for a C compiler and Redis).
TEXT
}

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
cd -- "$root"

for argument in "$@"; do
    case "$argument" in
        -h | --help)
            usage
            exit 0
            ;;
    esac
    case " ${all_steps[*]} " in
        *" $argument "*) ;;
        *)
            printf 'error: expected steps out of: %s; found %s\n' "${all_steps[*]}" "$argument" >&2
            exit 2
            ;;
    esac
done
if [ "$#" -gt 0 ]; then steps=("$@"); else steps=("${all_steps[@]}"); fi

export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"
# Nothing is built twice in CI, so incremental state would only cost time and disk.
if [ "${CI:-}" = true ]; then export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"; fi

# Without a terminal nobody can press Ctrl-C: a step that hangs ends the run with its name instead of a time-out of the machine.
limit_s="${TURNPIKE_TEST_LIMIT_S:-1500}"
bounded() {
    if [ ! -t 0 ] && command -v timeout >/dev/null 2>&1; then
        timeout --kill-after=10 "$limit_s" "$@"
    else
        "$@"
    fi
}

fail() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

need_rust() {
    command -v cargo >/dev/null 2>&1 ||
        fail 'cargo was not found' 'install Rust from https://rustup.rs, then open a new shell'
}

need_component() {
    local component="$1" program="$2"
    if "$program" --version >/dev/null 2>&1; then return; fi
    if command -v rustup >/dev/null 2>&1 && rustup component add "$component"; then return; fi
    fail "the Rust component $component was not found" "rustup component add $component"
}

need_compiler() {
    if command -v "${CC:-cc}" >/dev/null 2>&1; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        DEBIAN_FRONTEND=noninteractive apt-get update -q &&
            DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends gcc libc6-dev && return
    fi
    fail "the C compiler ${CC:-cc} was not found" 'install one, for example: apt-get install gcc libc6-dev'
}

# Quotas are tested against real processes. Without them those tests say that they were skipped.
need_redis() {
    if command -v redis-server >/dev/null 2>&1 && command -v redis-sentinel >/dev/null 2>&1; then return; fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        DEBIAN_FRONTEND=noninteractive apt-get update -q &&
            DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends redis-server redis-sentinel && return
    fi
    printf 'warning: redis-server or redis-sentinel was not found: the tests of quotas over Redis are skipped\nhint: apt-get install redis-server redis-sentinel\n' >&2
}

prepare() {
    case "$1" in
        tidy) ;;
        fmt) need_rust && need_component rustfmt 'cargo-fmt' ;;
        clippy) need_rust && need_compiler && need_component clippy 'cargo-clippy' ;;
        test) need_rust && need_compiler && need_redis ;;
        *) need_rust && need_compiler ;;
    esac
}

# One profile for everything. clippy and doc share the metadata of dependencies; only `test` builds their code.
perform() {
    case "$1" in
        tidy) bounded scripts/tidy.sh ;;
        fmt) bounded cargo fmt --all --check ;;
        clippy) bounded cargo clippy --workspace --all-targets --locked -- -D warnings ;;
        doc) RUSTDOCFLAGS='-D warnings' bounded cargo doc --workspace --no-deps --locked ;;
        test) bounded cargo test --workspace --locked ;;
        deny) bounded cargo deny check bans licenses sources ;;
    esac
}

passed=()
skipped=()
started="$SECONDS"
summary() {
    local status="$?" text
    text="${#passed[@]} passed (${passed[*]:-none})"
    if [ "${#skipped[@]}" -gt 0 ]; then text+=", ${#skipped[@]} skipped (${skipped[*]})"; fi
    if [ "$status" -eq 0 ]; then
        printf '\n== OK: %s in %s s\n' "$text" "$((SECONDS - started))"
    else
        printf '\n== FAILED in step %s (status %s): %s, after %s s\n' "${step:-none}" "$status" "$text" "$((SECONDS - started))" >&2
    fi
}
trap summary EXIT

for step in "${steps[@]}"; do
    printf '\n== %s (%s s)\n' "$step" "$((SECONDS - started))"
    if [ "$step" = deny ] && ! cargo deny --version >/dev/null 2>&1; then
        printf 'skipped: cargo-deny is not installed\n'
        skipped+=("$step")
        continue
    fi
    prepare "$step"
    step_started="$SECONDS"
    perform "$step"
    printf -- '-- %s took %s s\n' "$step" "$((SECONDS - step_started))"
    passed+=("$step")
done
