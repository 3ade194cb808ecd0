"""One file from the Hugging Face hub to its place: described, fetched beside its place, compared, renamed."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests
from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers
from tqdm import tqdm

from ..files.digest import file_sha256
from .published import HubFile

ATTEMPTS = 5
PAUSE_S = 1.0
TIMEOUT_S = 30
CHUNK = 2**18
# The errors of the client that huggingface_hub talks through: httpx in newer releases, requests in older ones.
_ClientError: Any = HfHubHTTPError.__bases__[0]
_SHA256 = re.compile(r"[0-9a-f]{64}")


class DownloadError(RuntimeError):
    """A file that could not be fetched; the message says why and what to do."""


@dataclass(frozen=True)
class RemoteFile:
    """What the hub says of a file.

    path    in its repository
    size    bytes
    sha256  hexadecimal; None for a file the hub does not keep in large-file storage
    """

    file: HubFile
    path: str
    url: str
    size: int
    sha256: str | None

    @property
    def target(self) -> str:
        """The file's name in ComfyUI's folder."""
        return self.file.target or self.path.rsplit("/", 1)[-1]


def describe(file: HubFile, revision: str | None = None, endpoint: str | None = None) -> RemoteFile:
    """Asks the hub for a file's exact name, size and hash; nothing is fetched yet.

    Raises DownloadError where the hub refuses, or where it names another size or hash than the published one.
    """
    revision = revision or file.revision
    with _hub_errors(file, revision, endpoint):
        path = file.path if isinstance(file.path, str) else _matching(file, revision, endpoint)
        url = hf_hub_url(file.repo, path, revision=revision, endpoint=endpoint)
        metadata = get_hf_file_metadata(url)
    if metadata.size is None:
        raise DownloadError(f"The hub does not say how large {path} of {file.repo} is, so it cannot be checked.")
    sha256 = metadata.etag if _SHA256.fullmatch(metadata.etag or "") else None
    if revision == file.revision and (file.sha256 or sha256) != sha256:
        raise DownloadError(
            f"{path} of {file.repo} is not the file it was: the hub now names SHA-256 {sha256}, expected "
            f"{file.sha256}. Nothing was fetched. If its publisher has replaced it, name the new "
            "revision with --revision."
        )
    return RemoteFile(file, path, url, metadata.size, sha256)


def is_same(path: Path, remote: RemoteFile) -> bool:
    """Whether a file here has the size and the hash that the hub names."""
    return path.is_file() and path.stat().st_size == remote.size and remote.sha256 in (None, file_sha256(path))


def fetch(remote: RemoteFile, target: Path) -> None:
    """Downloads to a name of its own beside `target`, resumes where an earlier run stopped, compares and renames.

    huggingface_hub's own download is not used: that of release 2.4 begins again after every interruption, takes a
    different file in the same place away first, leaves a folder of notes among the models, and compares sizes only.
    requests is used because the hub library's own client is another one in each of its major releases.

    Raises DownloadError where what came is not what the hub names (the partial file is then removed), where the disk is
    too small, and where the connection fails again and again (the partial file stays).
    """
    part = partial_file(remote, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_space(remote, part)
    _receive(remote, part)
    fault = _fault(remote, part)
    if fault:
        part.unlink()
        raise DownloadError(f"{target.name} did not arrive as the hub has it: {fault}. It was removed; run this again.")
    if target.exists():
        raise DownloadError(f"{target} appeared while it was being fetched and was left as it is; see {part}.")
    part.rename(target)


def partial_file(remote: RemoteFile, target: Path) -> Path:
    """Where a download grows. The name carries the content's hash: parts of two revisions never meet."""
    return target.with_name(f"{target.name}.{(remote.sha256 or 'unhashed')[:12]}.part")


def _receive(remote: RemoteFile, part: Path) -> None:
    """Appends to the partial file until it has the full size or nothing more comes; asks again after a broken line."""
    failures = 0
    while (before := _length(part)) < remote.size:
        failure = None
        try:
            _stream(remote, part)
        except requests.HTTPError as error:
            status = _status_code(error)
            if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # the server's file ends before the size that the hub names
            if status < HTTPStatus.INTERNAL_SERVER_ERROR:
                raise _refused(remote, error) from error
            failure = error
        except requests.RequestException as error:
            failure = error
        if _length(part) > before:
            failures = 0
        elif failure is None:
            return
        else:
            failures += 1
            _pause_or_give_up(remote, part, failures, failure)


def _pause_or_give_up(remote: RemoteFile, part: Path, failures: int, failure: requests.RequestException) -> None:
    if failures == ATTEMPTS:
        raise DownloadError(
            f"The connection to {remote.url} broke after {_length(part):,} of {remote.size:,} bytes ({failure}). "
            "What has arrived is kept; run this again to resume from there."
        ) from failure
    time.sleep(PAUSE_S * failures)


def _stream(remote: RemoteFile, part: Path) -> None:
    done = _length(part)
    # requests drops the token where the hub sends it on to another host.
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with requests.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        # A server that does not know ranges answers 200 and sends everything again.
        resumes = response.status_code == requests.codes.partial_content
        with (
            part.open("ab" if resumes else "wb") as stream,
            tqdm(
                total=remote.size, initial=done if resumes else 0, unit="B", unit_scale=True, desc=remote.target
            ) as bar,
        ):
            for chunk in response.iter_content(CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
                if stream.tell() > remote.size:
                    return  # more than announced: the comparison will say so


def _fault(remote: RemoteFile, part: Path) -> str | None:
    if _length(part) != remote.size:
        return f"it has {_length(part):,} bytes or more, expected {remote.size:,}"
    if remote.sha256 and (found := file_sha256(part)) != remote.sha256:
        return f"its SHA-256 is {found}, expected {remote.sha256}"
    return None


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _check_space(remote: RemoteFile, part: Path) -> None:
    free, needed = shutil.disk_usage(part.parent).free, remote.size - _length(part)
    if free < needed:
        raise DownloadError(
            f"{part.parent} has {free / 1e9:.1f} GB free, {remote.target} needs {needed / 1e9:.1f} GB. Make room, or "
            "name a folder on another disk in extra_model_paths.yaml with is_default: true."
        )


def _matching(file: HubFile, revision: str | None, endpoint: str | None) -> str:
    names = HfApi(endpoint=endpoint).list_repo_files(file.repo, revision=revision)
    found = [name for name in names if re.fullmatch(file.path, name)]
    if len(found) != 1:
        weights = ", ".join(name for name in names if name.endswith(".safetensors")) or "no .safetensors file"
        raise DownloadError(
            f"{file.repo} has {len(found)} files that could be {file.what}, expected one. It holds {weights}. "
            f"Download the right one by hand into models/{file.folder}."
        )
    return found[0]


@contextmanager
def _hub_errors(file: HubFile, revision: str | None, endpoint: str | None) -> Iterator[None]:
    """The hub's refusals in the user's words."""
    page = f"{(endpoint or constants.ENDPOINT).rstrip('/')}/{file.repo}"
    at = f" at revision {revision}" if revision else ""
    login = "Log in with `hf auth login` (or set HF_TOKEN), then run this again."
    try:
        yield
    except GatedRepoError as error:
        raise DownloadError(
            f"{file.repo} is given only to people who accepted its licence ({file.licence}). Open {page}, accept it "
            f"with your account, and wait until access is granted. {login} A fine-grained token needs the permission "
            "to read gated repositories."
        ) from error
    except RevisionNotFoundError as error:
        raise DownloadError(f"{file.repo} has no revision {revision}. Name another with --revision.") from error
    except EntryNotFoundError as error:
        raise DownloadError(f"{file.repo}{at} has no file {file.path}; look at {page} for its new name.") from error
    except RepositoryNotFoundError as error:
        raise DownloadError(f"{file.repo} is not there, or is hidden from you. Look at {page}. {login}") from error
    except OfflineModeIsEnabled as error:
        raise DownloadError("HF_HUB_OFFLINE is set, so nothing can be fetched. Unset it and run this again.") from error
    except HfHubHTTPError as error:
        raise DownloadError(_status(file, _status_code(error), page, login)) from error
    except (_ClientError, OSError) as error:
        raise DownloadError(f"{page} cannot be reached ({error}). Check the connection and run this again.") from error


def _status_code(error: requests.HTTPError | HfHubHTTPError) -> int:
    """What the server answered, 0 where it did not."""
    return 0 if error.response is None else error.response.status_code


def _refused(remote: RemoteFile, error: requests.HTTPError) -> DownloadError:
    return DownloadError(
        f"The server refused {remote.path} of {remote.file.repo} with status {_status_code(error)}. "
        "Run this again to resume from what has arrived."
    )


def _status(file: HubFile, status: int, page: str, login: str) -> str:
    if status == requests.codes.unauthorized:
        return f"The hub wants to know who asks for {file.repo}, or does not know your token (status 401). {login}"
    if status == requests.codes.forbidden:
        return f"The hub forbids {file.repo} (status 403). Accept its licence at {page}. {login}"
    if status == requests.codes.too_many_requests:
        return f"The hub asks for a pause (status 429). {login} With an account more requests are allowed."
    return f"The hub answered {file.repo} with status {status}. Look at {page} and try again later."
