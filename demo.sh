#!/usr/bin/env bash
# bash demo.sh [--out DIR]   runs the shipped two-person workflow with the miniature's loaders in a real ComfyUI;
#                            images, layout and the Identity Meter's verdict in DIR (./demo_output)
# bash demo.sh --ui          opens that workflow in a browser instead
# Sets up everything it needs; see tests/testbed.sh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tests/testbed.sh"
exec "$python" "$root/tests/comfyui/demo.py" "$@"
