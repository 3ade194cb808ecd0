"""The frontends that browser tests run in: the one of the test bed's ComfyUI, and the newest."""

import os

import pytest

from ..pack import TESTBED

OWN, NEWEST = "1.32.9", "1.58.1"
FRONTENDS = (OWN, NEWEST)


def frontend_options(version: str) -> tuple[str, ...]:
    """What a server is started with to show this frontend.

    Skips the test where the newest one was not fetched; on CI that is a failure.
    """
    if version == OWN:
        return ()
    folder = TESTBED / f"frontend-{version}"
    if not folder.is_dir():
        words = f"the frontend {version} is not in the test bed; `bash test.sh` fetches it"
        pytest.fail(words) if os.environ.get("CI") == "true" else pytest.skip(words)
    return "--front-end-root", str(folder)
