#!/usr/bin/env bash
# bash test.sh [pytest arguments]   runs the tests
# bash test.sh --golden DIR         replays the reference numbers in DIR
# Both first set up everything they need; see tests/testbed.sh.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")

if [[ ${1-} == --golden ]]; then
    # DIR is meant from where the user stands
    golden=$(cd "${2:?"--golden needs the folder of reference numbers"}" && pwd)
fi

source "$here/tests/testbed.sh"
cd "$root"

if [[ -n ${golden-} ]]; then
    exec "$python" -m tests.golden "$golden"
fi

paths=(tests)
for argument in "$@"; do
    if [[ -e ${argument%%::*} ]]; then
        paths=()
    fi
done
# not `python -m pytest`, which would make the clone's root importable
exec "$testbed/venv/bin/pytest" "$@" "${paths[@]}"
