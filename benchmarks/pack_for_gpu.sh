#!/usr/bin/env bash
# bash benchmarks/pack_for_gpu.sh [SITE_PACKAGES]
# For a machine with a GPU that has torch and no internet: puts what gpu_rehearsal.py needs beside it into .testbed/gpu
# of this clone, which git ignores, and prints the size of all that would travel. SITE_PACKAGES is a folder with
# packages for that machine's Python (pip install --target), where it is not the test bed's: pydantic's core is compiled.
# There, from the clone's root:
#   PYTHONPATH=$PWD/.testbed/gpu/packages WITHANYONE_TESTBED=$PWD/.testbed/gpu python benchmarks/gpu_rehearsal.py --out rehearsal
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
testbed=${WITHANYONE_TESTBED:-$root/.testbed}
packed=$root/.testbed/gpu
limit_mib=64

die() { echo "pack_for_gpu: $*" >&2; exit 1; }

[[ -d $testbed/comfyui/comfy ]] || die "no ComfyUI in $testbed: run bash test.sh once, or set WITHANYONE_TESTBED"
sites=("$testbed"/venv/lib/python3*/site-packages)
source=${1:-${sites[0]}}
[[ -d $source ]] || die "no folder $source: give the folder that holds the packages"

rm -rf "$packed"
mkdir -p "$packed/packages" "$packed/comfyui"

# copy FROM TO PATTERN...: a folder without the named patterns, and without what Python compiled
copy() {
    local from=$1 to=$2 pattern excluded=(--exclude=__pycache__)
    shift 2
    for pattern in "$@"; do excluded+=(--exclude="$pattern"); done
    mkdir -p "$to"
    tar -C "$from" "${excluded[@]}" -cf - . | tar -C "$to" -xf -
}

for name in diffusers pydantic pydantic_core annotated_types typing_inspection torchsde trampoline; do
    [[ -d $source/$name ]] || die "$source has no $name"
    copy "$source/$name" "$packed/packages/$name"
done
[[ -d $source/bitsandbytes ]] || die "$source has no bitsandbytes"
# Of its libraries the one for CUDA 13, and the CPU's, without which it does not load.
copy "$source/bitsandbytes" "$packed/packages/bitsandbytes" 'libbitsandbytes_cuda1[12]*' 'libbitsandbytes_cuda13[1-9]*' \
    'libbitsandbytes_rocm*' 'libbitsandbytes_xpu*'
# Versions are asked for by importlib.metadata.
for name in diffusers pydantic pydantic_core bitsandbytes torchsde trampoline; do
    for info in "$source/$name"-*.dist-info; do
        [[ -d $info ]] && copy "$info" "$packed/packages/$(basename "$info")" licenses
    done
done
for name in comfy comfy_api comfy_config comfy_execution comfy_extras app utils; do
    if [[ -d $testbed/comfyui/$name ]]; then
        copy "$testbed/comfyui/$name" "$packed/comfyui/$name" '*tokenizer*' '*vocab*'
    fi
done
cp "$testbed"/comfyui/*.py "$packed/comfyui/"

kib() { du -sk "$@" | awk '{total += $1} END {print total + 0}'; }
tracked=$(cd "$root" && git ls-files -z | xargs -0 -r ls -d 2>/dev/null | tr '\n' '\0' | xargs -0 -r du -ck | awk '/total$/ {sum += $1} END {print sum + 0}')
carried=$(kib "$packed")
for folder in "$packed"/packages/* "$packed"/comfyui; do
    [[ $folder == *.dist-info ]] || printf '%8.1f MiB  %s\n' "$(kib "$folder" | awk '{print $1 / 1024}')" "${folder#"$root"/}"
done
printf '%8.1f MiB  files that git tracks\n' "$(awk -v kib="$tracked" 'BEGIN {print kib / 1024}')"
total=$(((tracked + carried) / 1024))
printf '%8d MiB  in all\n' "$total"
if ((total > limit_mib)); then
    echo "More than $limit_mib MiB: leave tracked weights and images out by a sparse checkout" \
        "(git sparse-checkout set --no-cone '/*' '!/miniature/weights' '!/docs' '!/tests/golden/inference' '!*.jpg')."
fi
