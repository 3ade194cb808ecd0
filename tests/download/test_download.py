import ast
import hashlib
import io
import re
import subprocess
import sys
import zipfile
from collections import namedtuple

import numpy as np
import pytest
from withanyone_pack.tests.hub import Refusal, serving
from withanyone_pack.tests.pack import ROOT
from withanyone_pack.withanyone_core.download import face_pack
from withanyone_pack.withanyone_core.download import hub as hub_module
from withanyone_pack.withanyone_core.download.__main__ import main
from withanyone_pack.withanyone_core.download.folders import ModelFolders, find_comfyui, read_extra_folders
from withanyone_pack.withanyone_core.download.published import HUB_FILES, HubFile
from withanyone_pack.withanyone_core.faces.analysis import DETECTOR_FILE, RECOGNIZER_FILE

CONTENT = np.random.default_rng(0).integers(0, 256, 1_500_000, dtype=np.uint8).tobytes()
PATH = "them/flux/flux1-dev.safetensors"
FLUX = HubFile(
    name="flux-dev",
    what="the base model",
    needs=("base",),
    repo="them/flux",
    path="flux1-dev.safetensors",
    folder="diffusion_models",
    licence="Some Non-Commercial License",
    gated=True,
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """No token of the developer's goes anywhere, and broken connections are tried again at once."""
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub_module, "PAUSE_S", 0.0)


@pytest.fixture
def hub():
    with serving() as hub:
        hub.files[PATH] = CONTENT
        yield hub


@pytest.fixture
def comfyui(tmp_path):
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    return folder


def target(comfyui, folder="diffusion_models", name="flux1-dev.safetensors"):
    return comfyui / "models" / folder / name


def run(hub, comfyui, *arguments, files=(FLUX,), only="base"):
    names = [file.name for file in files] if only == "base" else [only]
    return main(["--comfyui", str(comfyui), "--endpoint", hub.endpoint, "--only", *names, *arguments], files)


def parts(comfyui):
    return [path for path in comfyui.rglob("*") if ".part" in path.name]


def test_a_file_goes_into_its_folder_whole_and_its_licence_is_shown_first(hub, comfyui, capsys):
    assert run(hub, comfyui) == 0
    assert target(comfyui).read_bytes() == CONTENT
    assert parts(comfyui) == []
    out = capsys.readouterr().out
    assert out.index("Some Non-Commercial License") < out.index("fetched")


def test_a_dry_run_says_what_it_would_do_and_fetches_nothing(hub, comfyui, capsys):
    assert run(hub, comfyui, "--dry-run") == 0
    assert "would be fetched" in capsys.readouterr().out
    assert hub.asked == []
    assert not (comfyui / "models").exists()


def test_a_broken_connection_goes_on_where_it_stopped(hub, comfyui):
    hub.cuts = [800_000]
    assert run(hub, comfyui) == 0
    assert target(comfyui).read_bytes() == CONTENT
    first, second = (span for _, span in hub.asked)
    assert first is None
    assert 0 < int(re.fullmatch(r"bytes=(\d+)-", second).group(1)) <= 800_000


def test_an_interrupted_run_is_gone_on_with_by_the_next(hub, comfyui, monkeypatch, capsys):
    class Stopping(hub_module.tqdm):
        def update(self, count):
            super().update(count)
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(hub_module, "tqdm", Stopping)
        assert run(hub, comfyui) == 130
    assert "kept" in capsys.readouterr().out
    (part,) = parts(comfyui)
    begun = part.stat().st_size
    assert 0 < begun < len(CONTENT)
    assert run(hub, comfyui) == 0
    assert hub.asked[-1] == (PATH, f"bytes={begun}-")
    assert target(comfyui).read_bytes() == CONTENT


def test_a_connection_that_always_breaks_is_given_up_and_what_came_is_kept(hub, comfyui, capsys):
    hub.cuts = [800_000] + [0] * hub_module.ATTEMPTS
    assert run(hub, comfyui) == 1
    assert "run this again to resume" in capsys.readouterr().out
    (part,) = parts(comfyui)
    assert CONTENT.startswith(part.read_bytes())


def test_another_content_of_the_same_size_is_refused_and_removed(hub, comfyui, capsys):
    hub.stated[PATH] = CONTENT
    hub.files[PATH] = bytes(len(CONTENT))
    assert run(hub, comfyui) == 1
    assert "SHA-256" in capsys.readouterr().out
    assert not target(comfyui).exists()
    assert parts(comfyui) == []


@pytest.mark.parametrize("length", [1_000_000, 2_000_000])
def test_another_size_than_the_hub_names_is_refused_and_removed(hub, comfyui, capsys, length):
    hub.stated[PATH] = CONTENT
    hub.files[PATH] = (CONTENT * 2)[:length]
    assert run(hub, comfyui) == 1
    assert "expected 1,500,000" in capsys.readouterr().out
    assert not target(comfyui).exists()
    assert parts(comfyui) == []


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (
            Refusal(403, "GatedRepo", "Access to model them/flux is restricted"),
            ["accept", "them/flux", "hf auth login"],
        ),
        (Refusal(401, "GatedRepo", "Access to model them/flux is restricted"), ["accept", "hf auth login"]),
        (Refusal(401), ["401", "hf auth login"]),
        (Refusal(401, "", "Invalid credentials in Authorization header"), ["token", "hf auth login"]),
        (Refusal(403), ["403", "licence"]),
        (Refusal(404, "RepoNotFound"), ["them/flux is not there"]),
        (Refusal(404, "EntryNotFound"), ["no file flux1-dev.safetensors"]),
        (Refusal(404, "RevisionNotFound"), ["no revision"]),
    ],
)
def test_a_refusal_is_explained(hub, comfyui, capsys, refusal, words):
    hub.refusals[PATH] = refusal
    assert run(hub, comfyui) == 1
    out = capsys.readouterr().out
    assert [word for word in words if word not in out] == []
    assert "1 could not be fetched: flux-dev" in out


def test_no_connection_is_explained(comfyui, capsys):
    assert main(["--comfyui", str(comfyui), "--endpoint", "http://127.0.0.1:9", "--only", "flux-dev"], [FLUX]) == 1
    assert "cannot be reached" in capsys.readouterr().out


def test_the_other_files_are_fetched_though_one_is_refused(hub, comfyui):
    other = HubFile("vae", "the VAE", ("base",), "them/vae", "ae.safetensors", "vae", "MIT")
    hub.files["them/vae/ae.safetensors"] = b"vae"
    hub.refusals[PATH] = Refusal(403, "GatedRepo")
    assert run(hub, comfyui, files=(FLUX, other)) == 1
    assert target(comfyui, "vae", "ae.safetensors").read_bytes() == b"vae"


@pytest.mark.parametrize("folder", ["diffusion_models", "unet"])
def test_the_right_file_is_left_alone_wherever_comfyui_finds_it(hub, comfyui, capsys, folder):
    file = target(comfyui, folder)
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    before = file.stat().st_mtime_ns
    assert run(hub, comfyui) == 0
    assert "is there already" in capsys.readouterr().out
    assert hub.asked == []
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [b"my own merge", bytes(len(CONTENT))])
def test_a_different_file_is_never_overwritten(hub, comfyui, capsys, content):
    file = target(comfyui)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert run(hub, comfyui) == 1
    assert "left as it is" in capsys.readouterr().out
    assert file.read_bytes() == content
    assert hub.asked == []


def test_too_little_room_is_said_before_anything_is_fetched(hub, comfyui, monkeypatch, capsys):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(hub_module.shutil, "disk_usage", lambda _: usage(1_000))
    assert run(hub, comfyui) == 1
    assert "Make room" in capsys.readouterr().out
    assert hub.asked == []


def test_a_known_file_that_was_replaced_on_the_hub_is_not_fetched_unless_its_revision_is_named(hub, comfyui, capsys):
    known = HubFile("x", "x", ("base",), "them/flux", "flux1-dev.safetensors", "vae", "MIT", sha256="0" * 64)
    assert run(hub, comfyui, files=(known,)) == 1
    assert "not the file it was" in capsys.readouterr().out
    assert run(hub, comfyui, "--revision", "x=newer", files=(known,)) == 0
    assert hub.revisions == {"main", "newer"}


def test_the_revision_of_the_table_is_the_one_that_is_asked_for(hub, comfyui):
    digest = hashlib.sha256(CONTENT).hexdigest()
    known = HubFile("x", "x", ("base",), "them/flux", FLUX.path, "vae", "MIT", revision="a" * 40, sha256=digest)
    assert run(hub, comfyui, files=(known,)) == 0
    assert hub.revisions == {"a" * 40}


@pytest.mark.parametrize(("name", "chosen"), [("withanyone-k", "K.preview"), ("withanyone-ke", "Ke.preview")])
def test_adapters_of_unknown_names_are_found_in_the_repositorys_list(hub, comfyui, name, chosen):
    for kind in ("", ".K.preview", ".Ke.preview"):
        hub.files[f"WithAnyone/WithAnyone/WithAnyone{kind}.safetensors"] = kind.encode() + b"adapter"
    assert run(hub, comfyui, files=HUB_FILES, only=name) == 0
    (file,) = (comfyui / "models" / "withanyone").iterdir()
    assert file.name == f"WithAnyone.{chosen}.safetensors"


def test_a_repository_without_a_matching_name_is_listed(hub, comfyui, capsys):
    hub.files["WithAnyone/WithAnyone/withanyone.safetensors"] = b"adapter"
    assert run(hub, comfyui, files=HUB_FILES, only="withanyone-ke") == 1
    assert "It holds withanyone.safetensors" in capsys.readouterr().out


EXTRA = """
mine:
    base_path: {base}
    is_default: true
    unet: |
        big/unet
        big/more
    clip: texts
other:
    vae: vaes
empty:
"""


def test_extra_model_paths_are_read_as_comfyui_reads_them(tmp_path):
    file = tmp_path / "extra_model_paths.yaml"
    file.write_text(EXTRA.format(base="~/models"), encoding="utf-8")
    folders = ModelFolders(tmp_path / "models", read_extra_folders(file))
    names = [str(path) for path in folders.of("diffusion_models")]
    assert [name.rsplit("/", 2)[-2:] for name in names[:2]] == [["big", "more"], ["big", "unet"]]
    assert "~" not in names[0]
    assert folders.of("text_encoders")[1:] == [tmp_path / "models" / "text_encoders", tmp_path / "models" / "clip"]
    assert folders.of("vae") == [tmp_path / "models" / "vae", tmp_path / "vaes"]
    assert folders.of("withanyone") == [tmp_path / "models" / "withanyone"]


def test_a_default_folder_of_extra_model_paths_gets_the_file(hub, comfyui, tmp_path):
    (comfyui / "extra_model_paths.yaml").write_text(EXTRA.format(base=tmp_path / "disk"), encoding="utf-8")
    assert run(hub, comfyui) == 0
    assert (tmp_path / "disk" / "big" / "more" / "flux1-dev.safetensors").read_bytes() == CONTENT


def test_a_file_in_an_extra_folder_is_found(hub, comfyui, tmp_path):
    (tmp_path / "paths.yaml").write_text("a:\n    diffusion_models: shared\n", encoding="utf-8")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "flux1-dev.safetensors").write_bytes(CONTENT)
    assert run(hub, comfyui, "--extra-model-paths", str(tmp_path / "paths.yaml")) == 0
    assert hub.asked == []
    assert not (comfyui / "models").exists()


def test_base_directory_is_where_models_are(hub, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    assert main(["--base-directory", str(base), "--endpoint", hub.endpoint, "--only", "flux-dev"], [FLUX]) == 0
    assert target(base).read_bytes() == CONTENT


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1, 2\n", "a: text\n"])
def test_a_broken_extra_model_paths_is_named(tmp_path, comfyui, text):
    file = tmp_path / "paths.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"paths\.yaml"):
        read_extra_folders(file)
    with pytest.raises(SystemExit):
        main(["--comfyui", str(comfyui), "--extra-model-paths", str(file)], [FLUX])


def test_comfyui_is_found_from_its_custom_nodes(tmp_path):
    assert find_comfyui(tmp_path / "ComfyUI" / "custom_nodes" / "any" / "core" / "x.py") == tmp_path / "ComfyUI"
    assert find_comfyui(tmp_path / "elsewhere" / "x.py") is None


FACES = {DETECTOR_FILE: b"detector", RECOGNIZER_FILE: b"recognizer"}


@pytest.fixture
def zoo(hub, monkeypatch):
    """insightface's release page, with a small pack that unpacks one folder too deep like the real one."""
    storage = pytest.importorskip("insightface.utils.storage")
    # insightface 1 and 2 name the address differently.
    monkeypatch.setattr(storage, "BASE_REPO_URL", f"{hub.endpoint}/zoo", raising=False)
    monkeypatch.setattr(storage, "MODEL_ZOO_RELEASE_DOWNLOAD_URL", f"{hub.endpoint}/zoo/", raising=False)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FACES.items()}
    monkeypatch.setattr(face_pack, "FACE_PACK_SHA256", digests)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in FACES.items():
            archive.writestr(f"antelopev2/{name}", content)
    hub.files["zoo/antelopev2.zip"] = packed.getvalue()
    return hub


def pack(comfyui):
    return comfyui / "models" / "insightface" / "models" / "antelopev2"


def test_the_face_pack_comes_through_insightface_as_deep_as_its_zip(zoo, comfyui, capsys):
    assert run(zoo, comfyui, only="antelopev2") == 0
    assert (pack(comfyui) / "antelopev2" / RECOGNIZER_FILE).read_bytes() == b"recognizer"
    assert [path.name for path in pack(comfyui).parent.iterdir()] == ["antelopev2"]
    assert "non-commercial research" in capsys.readouterr().out
    assert run(zoo, comfyui, only="antelopev2") == 0
    assert "is there already" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_a_face_pack_that_fails_leaves_nothing_that_looks_complete(zoo, comfyui, capsys, monkeypatch, damage):
    whole = zoo.files["zoo/antelopev2.zip"]
    if damage == "cut":
        zoo.files["zoo/antelopev2.zip"] = whole[: len(whole) // 2]
    elif damage == "gone":
        del zoo.files["zoo/antelopev2.zip"]
    else:
        monkeypatch.setitem(face_pack.FACE_PACK_SHA256, RECOGNIZER_FILE, "0" * 64)
    assert run(zoo, comfyui, only="antelopev2") == 1
    assert "NOT DONE" in capsys.readouterr().out
    assert list(pack(comfyui).parent.iterdir()) == []


def test_a_different_face_pack_is_left_alone(zoo, comfyui, capsys):
    pack(comfyui).mkdir(parents=True)
    (pack(comfyui) / DETECTOR_FILE).write_bytes(b"mine")
    assert run(zoo, comfyui, only="antelopev2") == 1
    assert "left as it is" in capsys.readouterr().out
    assert (pack(comfyui) / DETECTOR_FILE).read_bytes() == b"mine"


def test_nothing_but_this_command_can_reach_the_network():
    clients = {"requests", "huggingface_hub", "urllib", "urllib3", "httpx", "aiohttp", "http", "socket", "subprocess"}
    reaching = set()
    for path in [*(ROOT / "withanyone_core").rglob("*.py"), *(ROOT / "nodes").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if clients & {name.split(".")[0] for name in names} or "insightface.utils.storage" in names:
                reaching.add(path.parent.name if path.parent.name == "download" else path.name)
    # answers.py is asked by the browser, through the server that ComfyUI runs
    assert reaching == {"download", "answers.py"}


@pytest.mark.parametrize("module", ["check", "download"])
def test_the_commands_run_from_a_bare_clone(module):
    arguments = ["--help"] if module == "download" else []
    done = subprocess.run(
        [sys.executable, "-m", f"withanyone_core.{module}", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m withanyone_core.{module}")
