#!/usr/bin/env bash
# Sets up what the other scripts need, and does nothing where all is there already:
#   system packages (Debian or Ubuntu, as root), the virtual environment .venv, and this project in it.
# Use: bash jobs/setup.sh [--tests]     --tests: also what the tests need (a real S3 server, Slurm, a browser, libaio)
set -euo pipefail

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$repository"
environment="$repository/.venv"
stamp="$environment/.gavt-installed"
test_packages=(radosgw ceph-mon ceph-osd ceph-mgr chromium libaio-dev slurm-wlm munge iproute2)

say() { printf 'setup: %s\n' "$*" >&2; }

# two scripts started at once: the second waits here until the first is done
exec 9<"$repository"
command -v flock >/dev/null && flock 9

is_installed() { [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]; }

# install PACKAGE…: as root on Debian or Ubuntu; fails elsewhere
install() {
    [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null || return 1
    say "installing $* with apt-get"
    local log
    log="$(mktemp)"
    if ! { apt-get -qq update &&
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@"; } >"$log" 2>&1 9<&-; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# need PACKAGE…: install them, or end with one sentence that says what to install
need() {
    install "$@" && return
    say "$* needed and could not be installed; install with: apt-get install $* (as root; other systems: their like)"
    exit 2
}

# the newest Python that all libraries have wheels for
find_python() {
    local name
    for name in python3.11 python3.12 python3.13 python3.10 python3; do
        if "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

python="$(find_python)" || {
    install python3 python3-venv python3-dev && python="$(find_python)"
} || {
    say "Python 3.10 to 3.13 needed, found $(python3 --version 2>/dev/null || echo none)"
    exit 2
}

# DeepSpeed builds an operation when it is first used: a compiler and Python's headers
wanted=()
"$python" -c 'import ensurepip, venv' 2>/dev/null || wanted+=("$(basename "$(readlink -f "$python")")-venv")
command -v g++ >/dev/null || wanted+=(g++)
[[ -f "$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" ]] ||
    wanted+=("$(basename "$(readlink -f "$python")")-dev")
((${#wanted[@]} == 0)) || need "${wanted[@]}"

if [[ "${1:-}" == --tests ]] && command -v dpkg-query >/dev/null; then
    wanted=()
    for package in "${test_packages[@]}"; do is_installed "$package" || wanted+=("$package"); done
    ((${#wanted[@]} == 0)) || install "${wanted[@]}" ||
        say "without ${wanted[*]} the tests that need them are skipped"
fi

# what is installed follows from pyproject.toml and setup.py, the Python and the place (the installation points here)
wish="$({ cat pyproject.toml setup.py; "$python" --version; echo "$repository"; } | sha256sum | cut -d ' ' -f 1)"
if [[ "$(cat "$stamp" 2>/dev/null)" != "$wish" ]]; then
    say "installing into .venv (the first time 6 GB, some minutes)"
    rm -f "$stamp"
    "$environment/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[test]' 9<&-
    echo "$wish" >"$stamp"
fi
