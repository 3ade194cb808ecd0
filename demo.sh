#!/usr/bin/env bash
# bash demo.sh [--out DIR]   runs the shipped miniature workflow in a real ComfyUI; images in DIR (./demo_output)
# bash demo.sh --ui          opens that ComfyUI for a browser instead
# Sets up everything it needs; see tests/testbed.sh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tests/testbed.sh"
exec "$python" "$root/tests/comfyui/demo.py" "$@"
