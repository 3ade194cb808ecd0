"""The models of an evaluation (detector, judges, CLIP, aesthetic score), from files of the user's."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from withanyone_core.faces.analysis import CPU, PROVIDERS, load_face_analysis, onnx_folder
from withanyone_core.files.digest import file_sha256
from withanyone_core.metrics.cache import ArrayStore, CachedAnalysis, CachedJudge
from withanyone_core.metrics.judge_card import shipped_cards
from withanyone_core.metrics.judges import load_judge

from .cases import fingerprint
from .measuring import EvaluationModels, Extra, FaceAnalysis, Judge

STORE = "faces.sqlite"
DET_SIZE = 640
DET_THRESHOLD = 0.45  # the benchmark's
WEIGHTS = (".safetensors", ".bin", ".json", ".txt", ".pth", ".pt")


def load_evaluation_models(
    face_pack: Path | None,
    judges: Sequence[Path],
    provider: str,
    store: Path,
    clip: Path | None = None,
    aesthetic: Sequence[Path] = (),
    use_boxes: bool = True,
    legacy: bool = False,
) -> EvaluationModels:
    """Everything that measures, loaded and ready.

    face_pack  folder of an insightface pack, for its detector
    judges     their cards (.json) or recognizers (.onnx)
    store      folder in which found faces and embeddings are kept
    clip       folder of a CLIP model, or None
    aesthetic  folder of a SigLIP tower and file of the head, or nothing

    Raises FileNotFoundError, ValueError or RuntimeError for what is missing or cannot be used.
    """
    if not judges:
        raise ValueError(
            "No judge was given, and without a recognizer no face can be compared. Add --judge with its card (.json) "
            f"or its .onnx file; cards that come with the pack: {', '.join(shipped_cards())}."
        )
    if face_pack is None:
        raise ValueError("No face pack was given. Add --face-pack DIR: the folder of insightface's antelopev2.")
    if provider not in PROVIDERS:
        raise ValueError(f"The provider is {provider!r}; expected one of {', '.join(PROVIDERS)}.")
    analysis = load_face_analysis(face_pack, provider, DET_SIZE, DET_THRESHOLD)
    files = sorted(onnx_folder(face_pack).glob("*.onnx"))
    pack = fingerprint({path.name: file_sha256(path).encode() for path in files})
    loaded = [load_judge(path, providers=tuple(dict.fromkeys((PROVIDERS[provider][0], CPU)))) for path in judges]
    extras = _extras(clip, aesthetic)
    extra_files = [path for path in (clip, *aesthetic) if path is not None]
    return make_evaluation_models(
        analysis,
        f"{pack} {DET_SIZE} {DET_THRESHOLD}",
        loaded,
        store,
        extras,
        {str(number): _contents(path).encode() for number, path in enumerate(extra_files)},
        use_boxes,
        legacy,
    )


def make_evaluation_models(
    analysis: FaceAnalysis,
    analysis_fingerprint: str,
    judges: Sequence[Judge],
    store: Path,
    extras: Sequence[Extra] = (),
    extra_fingerprints: dict[str, bytes] | None = None,
    use_boxes: bool = True,
    legacy: bool = False,
) -> EvaluationModels:
    """EvaluationModels that keep their results in the folder `store`; any detector and any judges will do.

    Raises ValueError where two judges have one name. The judges no training has seen come first: the first one says
    who is whom.
    """
    twice = [name for name, count in Counter(judge.info.name for judge in judges).items() if count > 1]
    if twice:
        raise ValueError(f"Two judges are called {twice[0]}; give each a name of its own in its card.")
    array_store = ArrayStore(store / STORE)
    judges = sorted(judges, key=lambda judge: judge.info.trained_with)
    marks = {f"judge {number} {judge.info}": judge.fingerprint.encode() for number, judge in enumerate(judges)}
    return EvaluationModels(
        CachedAnalysis(analysis, analysis_fingerprint, array_store),
        tuple(CachedJudge(judge, array_store) for judge in judges),
        fingerprint({"analysis": analysis_fingerprint.encode(), **marks, **(extra_fingerprints or {})}),
        tuple(extras),
        use_boxes,
        legacy,
    )


def _extras(clip: Path | None, aesthetic: Sequence[Path]) -> list[Extra]:
    from .extras import Aesthetic, Clip

    extras: list[Extra] = []
    if clip is not None:
        extras.append(Clip(clip).scores)
    if aesthetic:
        predictor = Aesthetic(*aesthetic)
        extras.append(lambda generated, truth, prompt: {"aesthetic": predictor.score(generated)})
    return extras


def _contents(path: Path) -> str:
    files = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.suffix in WEIGHTS)
    return fingerprint({each.name: file_sha256(each).encode() for each in files})
