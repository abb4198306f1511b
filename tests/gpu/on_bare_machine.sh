#!/usr/bin/env bash
# Runs the checks on a machine that has torch for a GPU and reaches no registry; what else they need lies in .gpu/, packed
# by `python tests/gpu/pack.py` where registries are reached. In the root of the checkout:
#   OUT=FOLDER bash tests/gpu/on_bare_machine.sh [words of tests/gpu/run.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python="${PYTHON:-python3}"
packages="$(mktemp -d /tmp/gavt-packages-XXXXXX)"
export OUT="${OUT:-/tmp/gavt-gpu}"
mkdir -p "$OUT"

"$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$packages" .gpu/*.whl
# the product asks for its own version; its code is the checkout's
version="$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)"
mkdir "$packages/gavt-$version.dist-info"
printf 'Metadata-Version: 2.1\nName: gavt\nVersion: %s\n' "$version" >"$packages/gavt-$version.dist-info/METADATA"
export PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}"
# nvcc may be a script elsewhere, from which torch would take the wrong folder for the toolkit's
[[ -n "${CUDA_HOME:-}" || ! -x /usr/local/cuda/bin/nvcc ]] || export CUDA_HOME=/usr/local/cuda
{
    date -u
    uname -a
    free -g
    "$python" --version
    ! command -v nvidia-smi >/dev/null || nvidia-smi
} >"$OUT/machine.txt"
exec "$python" tests/gpu/run.py "$@"
