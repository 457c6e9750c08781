#!/usr/bin/env bash
# House rules that no compiler checks. Reads tracked files (every file outside a checkout), builds nothing.
set -euo pipefail
shopt -s inherit_errexit

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
cd -- "$root"

rust_lines_max=800
problems=0

problem() {
    printf 'tidy: %s\n' "$1" >&2
    problems=$((problems + 1))
}

# Reports every line of standard input.
report() {
    local line
    while IFS= read -r line; do
        problem "$1: $line"
    done
}

# Files whose names match the given patterns, one per line. New files count before they are added.
files() {
    if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git ls-files --cached --others --exclude-standard -- "$@" | while IFS= read -r file; do
            if [ -f "$file" ]; then printf '%s\n' "$file"; fi
        done
    else
        local pattern names=()
        for pattern in "$@"; do names+=(-o -path "./${pattern#./}" -o -name "$pattern"); done
        find . \( -name target -o -name .git -o -name .turnpike \) -prune -o -type f \( "${names[@]:1}" \) -print |
            sed 's|^\./||'
    fi
}

# Lines of the files on standard input that match an extended regular expression, comments aside.
matches() {
    local expression="$1" file
    while IFS= read -r file; do
        grep -HnE -- "$expression" "$file" | grep -vE '^[^:]+:[0-9]+: *//' || true
    done
}

check_size() {
    local file lines
    while IFS= read -r file; do
        lines="$(wc -l <"$file")"
        if [ "$lines" -gt "$rust_lines_max" ]; then
            problem "$file has $lines lines, expected at most $rust_lines_max; hint: split it by concern"
        fi
    done < <(files '*.rs')
}

check_leftovers() {
    report 'unfinished code' < <(files '*.rs' | matches '\b(todo|unimplemented|dbg)!\(')
    report 'path of one machine' < <(files '*.rs' '*.md' '*.toml' '*.sh' '*.yml' '*.yaml' '*.json' Dockerfile |
        matches '(^|[^A-Za-z0-9_./*-])/(root/[.]|(work|Users/[A-Za-z]+|home/[A-Za-z]+)/)')
    report 'merge marker' < <(files '*' | while IFS= read -r file; do
        grep -IHnE '^(<<<<<<<|>>>>>>>) ' "$file" || true
    done)
}

# Every member shares the lints; every crate root restricts unsafe code; where it is allowed, each block is justified.
check_crates() {
    local manifest crate_root crate found file
    while IFS= read -r manifest; do
        case "$manifest" in fuzz/*) continue ;; esac
        crate="$(dirname -- "$manifest")"
        if ! grep -qE '^\[package\]' "$manifest"; then continue; fi
        if ! grep -A1 -E '^\[lints\]' "$manifest" | grep -q '^workspace = true'; then
            problem "$manifest: expected \`[lints] workspace = true\`"
        fi
        found=no
        for crate_root in "$crate/src/lib.rs" "$crate/src/main.rs"; do
            if [ ! -f "$crate_root" ]; then continue; fi
            found=yes
            if ! grep -qE '^#!\[(forbid|deny)\(unsafe_code\)\]' "$crate_root"; then
                problem "$crate_root: expected #![forbid(unsafe_code)] or #![deny(unsafe_code)]"
            fi
        done
        if [ "$found" = no ]; then problem "$manifest: no crate root was found"; fi
    done < <(files 'Cargo.toml' '*/Cargo.toml' | sort -u)
    while IFS= read -r file; do
        if ! grep -q 'SAFETY:' "$file"; then problem "$file allows unsafe code and has no SAFETY paragraph"; fi
    done < <(files '*.rs' | while IFS= read -r file; do grep -lE '#!?\[allow\(unsafe_code' "$file" || true; done)
}

# Dependencies section of a manifest, without those for tests.
dependencies() {
    awk '/^\[/ { inside = ($0 == "[dependencies]") } inside && /^[a-z]/ { sub(/[ .=].*/, ""); print }' "$1"
}

# Who may depend on whom: docs/ARCHITECTURE.md.
check_directions() {
    local rule manifest forbidden
    for rule in \
        'core/Cargo.toml=^(turnpike-|tokio|monoio|mio|hyper|rustls|socket2|rustix|libc|redis)' \
        'config/Cargo.toml=^(turnpike-|tokio|monoio|mio|hyper|rustls|socket2|redis)' \
        'io-uring/Cargo.toml=^(turnpike-control|tokio|hyper|reqwest|redis)' \
        'control/Cargo.toml=^(turnpike-uring|monoio|io-uring)' \
        'perf/Cargo.toml=^turnpike-'; do
        manifest="${rule%%=*}"
        forbidden="${rule#*=}"
        report "$manifest may not depend on" < <(dependencies "$manifest" | grep -E -- "$forbidden" || true)
    done
}

# Anchors of a Markdown file, as forges make them from its headings.
anchors() {
    awk '
        /^```/ { fenced = !fenced }
        !fenced && /^#+ / {
            sub(/^#+ +/, ""); $0 = tolower($0); gsub(/[^a-z0-9 _-]/, ""); gsub(/ /, "-")
            print $0 (seen[$0]++ ? "-" seen[$0] - 1 : "")
        }' "$1"
}

# Targets of the links of a Markdown file; code is left out.
links() {
    awk '/^ *```/ { fenced = !fenced; next } !fenced' "$1" | sed 's/`[^`]*`//g' |
        grep -oE '\]\([^) ]+|^\[[^]]+\]: +[^ ]+' | sed -E 's/^\]\(//; s/^\[[^]]+\]: +//' || true
}

check_links() {
    local document link path anchor target
    while IFS= read -r document; do
        while IFS= read -r link; do
            case "$link" in http://* | https://* | mailto:*) continue ;; esac
            path="${link%%#*}"
            anchor=''
            if [ "$path" != "$link" ]; then anchor="${link#*#}"; fi
            case "$path" in
                '') target="$document" ;;
                /*) target=".$path" ;;
                *) target="$(dirname -- "$document")/$path" ;;
            esac
            if [ ! -e "$target" ]; then
                problem "$document links to $link, and $target does not exist"
            elif [ -n "$anchor" ] && [[ "$target" == *.md ]] && ! anchors "$target" | grep -qxF -- "$anchor"; then
                problem "$document links to $link, and $target has no such heading"
            fi
        done < <(links "$document")
    done < <(files '*.md')
}

check_scripts() {
    local script
    while IFS= read -r script; do
        if ! bash -n -- "$script"; then problem "$script is not valid bash"; fi
        if [ ! -x "$script" ]; then problem "$script is not executable; hint: chmod +x"; fi
        if ! grep -qE '^set -euo pipefail$' "$script"; then problem "$script: expected \`set -euo pipefail\`"; fi
    done < <(files '*.sh' '.ci/*')
    if command -v shellcheck >/dev/null 2>&1; then
        files '*.sh' '.ci/*' | while IFS= read -r script; do shellcheck -- "$script"; done || problem 'shellcheck found something'
    fi
}

check_size
check_leftovers
check_crates
check_directions
check_links
check_scripts

if [ "$problems" -gt 0 ]; then
    printf 'tidy: %s problem(s)\n' "$problems" >&2
    exit 1
fi
