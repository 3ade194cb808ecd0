"""One word for one thing, and the word that the field uses: retired words, with the places where each stays allowed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from withanyone_pack.tests.pack import ROOT

# Product code, configuration, node texts, error messages, documents, tests and benchmarks.
ROOMS = (
    "nodes",
    "withanyone_core",
    "training",
    "miniature",
    "benchmarks",
    "locales",
    "docs",
    "tests",
)
KINDS = (".py", ".yaml", ".json", ".js", ".md", ".html")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
NEITHER = (
    "miniature/weights/*",
    "miniature/scratch/*",
    "nodes/web/docs/images/*",
    "*/judge_cards/*",
    "tests/golden/*.json",  # recorded with the released code
    "tests/test_words.py",
)
CODE = ("*.py", "*.yaml", "*.json", "*.js")
EVERYWHERE = ("*",)
DRAWING = ("miniature/world/*",)  # which paints backdrops
LEARNING = ("training/*", "miniature/*", "benchmarks/*", "docs/training.md", "docs/scale.md", "docs/miniature.md")


@dataclass(frozen=True)
class Retired:
    """A word that gave way to another.

    word     a regular expression; a word ends where letters end, so that it is found in snake_case too
    instead  what to write
    where    the files in which it is retired
    unless   lines in which it means something else
    but      files in which it means something else
    """

    word: str
    instead: str
    where: tuple[str, ...] = EVERYWHERE
    unless: str = r"(?!)"
    but: tuple[str, ...] = ()
    exact_case: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![A-Za-z])(?:{self.word})(?![A-Za-z])", 0 if self.exact_case else re.IGNORECASE)

    def concerns(self, name: str) -> bool:
        """A test speaks as its room does: tests/training/ as training/."""
        name = name.removeprefix("tests/")
        return any(fnmatch(name, each) for each in self.where) and not any(fnmatch(name, each) for each in self.but)


RETIRED = (
    Retired(r"pictures?", "image", CODE, but=("miniature/models/classifiers.py",)),  # a key of shipped weights
    Retired(r"picture[ _]?(coders?|models?)|painters?|coders?", "VAE, base model", but=DRAWING),
    Retired(r"noise[ _-]?levels?", "sigma"),
    Retired(r"levels?_[A-Z]+", "sigma", exact_case=True),
    Retired(
        r"levels?",
        "sigma",
        ("training/*.py", "withanyone_core/schedule.py", "nodes/sampling.py"),
        unless=r"(?i)log[a-z]*[._ ]?level|set_?level|level=|\.level\b|level\(|WordLevel|top level|risk_level"
        r"|\"levels?\"",
        but=("training/base/vae_keys.py",),
    ),
    Retired(
        r"(a|each|every|last|first|best|two|next|both|these) looks?|_looks?",
        "validation, validate",
        ("training/*",),
        unless=r"how \w+ looks|what \w+ looks",
    ),
    Retired(r"Look", "Validation", ("training/*",), exact_case=True),
    # a detected photo's name once
    Retired(r"(?<=\.)looks?|look(?=\.[a-z]|: [A-Z]|[)] )|looks(?= =)|the[ _]looks", "detected", ("training/*.py",)),
    Retired(r"looking", "validation", ("training/*",), unless=r"looking (at|for|up|like|alike|left|right|away)"),
    Retired(r"instruments?", "models, frozen models", LEARNING),
    Retired(r"paint(s|ed|ing)?", "generate, sample", unless=r"(?i)mask|painted_head|box|gouache", but=DRAWING),
    Retired(r"face[ _-]?vectors?", "face embedding"),
    Retired(r"FaceVectors?|Vectors?", "Embedding", exact_case=True),
    Retired(
        r"vectors?",
        "embedding",
        # terms of ComfyUI's classes; layers of shipped weights; keys of cards, caches and banks; ordinary mathematics
        unless=r"vec_in|vector_in|vector_norm|self\.vector\b|\"[\w.{}]*vectors?\"|`vectors?`|negatives\.vectors"
        r"|(singular|unit|direction|state|word|row|column|modulation|basis|null)['s]* ?vectors?"
        r"|\bvector=\d|norm, vector\"",
        but=(
            "withanyone_core/metrics/judges.py",
            "withanyone_core/metrics/judge_card.py",
        ),  # `vector` is a key of users' cards
    ),
    # convolutions that narrow and widen are in the miniature's models
    Retired(
        r"narrow(s|ed|er|ing)?",
        "quantize, quantized",
        LEARNING,
        unless=r"\.narrow\(|too narrow|narrow for",
        but=(*DRAWING, "miniature/models/*"),
    ),
    Retired(r"widen(s|ed|ing)?", "dequantize, dequantized", LEARNING, but=("miniature/models/*",)),
    Retired(
        r"packed",
        "quantized",
        ("training/base/*", "training/memory/*", "training/planning/*"),
        unless=r"(?i)latent|channel|flow|\b[A-Z]\b|2 ?x ?2|unpacked\(",
    ),
    Retired(
        r"\w+_casts?|cast(?=[ ,]*[=,)] ?)|self\.cast|flux_1_load",
        "dummy models, batch shape",
        ("training/*", "benchmarks/*"),
        unless=r"manual_cast|import",
    ),
    Retired(r"stream_blocks|streaming|streamed|streams? (the )?blocks?", "block swap, blocks_to_swap"),
    Retired(r"hollow", "fake tensors, dummy models"),
    Retired(r"Cast|casting\.py", "dummy models", ("training/*", "miniature/*"), unless=r"\"Cast", exact_case=True),
    Retired(r"planning", "memory, cache_plan", unless=r"Memory planning"),
    Retired(
        r"Ahead|AHEAD|Turn|ahead\.py|(made|drawn|prepared) ahead",
        "Prefetcher, (step, micro_batch), prefetched",
        ("training/*", "docs/*", "README.md", "CHANGELOG.md"),
        exact_case=True,
    ),
    Retired(
        r"divided?|divides",
        "shard, sharded",
        ("training/*", "docs/training.md", "README.md"),
        unless=r"(?i)divid\w+ (by|into)|divided_by",
    ),
    Retired(
        r"(a|its|their|the|this|that|own|any|what|which|same|whose|no) share|shares? (of|in)|\w+_share|share_of\w*",
        "fraction, ratio or weight",
        unless=r"(?i)(\b|_)(they|that|who|which|and|may|images|faces|photos|cells|row|box)[ _]share(\b|_)",
    ),
    Retired(r"Share|SHARE", "Fraction", CODE, unless=r"\"Share|Shares? ", exact_case=True),
    Retired(r"_?share(?= =|\(| x )|--share|(?<=\.)share", "fraction, utilization", CODE),
    Retired(
        r"shares?",
        "fraction, ratio or weight",
        ("*.yaml", "*.json"),
        unless=r"(?i)\bto share\b|shares? (a|an|one|the)\b",
    ),
    Retired(r"moods?", "expression"),
    Retired(r"(made|wanted|shown)_(embeddings?|vectors?|faces?)", "generated, target, reference", ("*.py",)),
    Retired(r"(made|wanted|shown)_[A-Z]+", "generated, target, reference", ("*.py",), exact_case=True),
    Retired(
        r"ledgers?|claim(s|ed|ing)?|chapters?|examin(e|es|ed|ing|ation)|proofs?|proven|casting",
        "results, metric, section, evaluate, evaluation, dataset",
        ("miniature/*",),
    ),
    Retired(
        r"class (Reading|Whole|Passed|Frozen|Load|Answers)(?![A-Za-z_])",
        "ConditioningSpec, GlobalBatchStats, LossOutput, FrozenModels, BatchShape",
        ("*.py",),
        exact_case=True,
    ),
    Retired(r"loss_in_words|is_loss", "worker_lost"),
    Retired(r"in words|_?in_words", "readable, a readable message", unless=r"for \w+ in words|assert .* in words"),
    Retired(r"told", "logged, passed, known, reported", unless=r"(?i)told[ _](\w+[ _])?(apart|from)|are told \""),
    Retired(r"(goes|go|went|going) on", "resumes, continues", unless=r"(?i)(goes|go|going) on to |while .* go(es)? on"),
    Retired(r"anew", "again, rebuilt"),
    Retired(r"(is|are|was|be|being) no number|stops being a number|not a number", "is NaN"),
    Retired(r"to the last bit", "bitwise identical"),
    Retired(
        r"rooms?",
        "prefix",
        ("withanyone_core/file_kinds/*", "withanyone_core/check/*", "withanyone_core/adapter/*", "training/base/*"),
    ),
    Retired(
        r"(recogn|optim|standard|normal|initial|quant|minim|maxim|general|serial|synchron|organ|summar|visual)"
        r"is(e|es|ed|er|ers|ing|ation|ations)",
        "American spelling: -ize",
    ),
    Retired(
        r"optim\.(wd|clip|warmup|batch|accum)(?!_)",
        "weight_decay, max_grad_norm, warmup_steps, batch_size, gradient_accumulation_steps",
    ),
    Retired(r"(wd|accum)(?=:)", "weight_decay, gradient_accumulation_steps", ("training/*",)),
    Retired(r"checkpoint_blocks", "gradient_checkpointing"),
    Retired(
        r"eval\.(every|prompts|steps|guidance|noise_levels|face_pack|judges|provider|stop|rise|gain|patience)",
        "validation, early_stopping",
    ),
)


def files() -> Iterator[Path]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in KINDS and not any(fnmatch(str(path.relative_to(ROOT)), each) for each in NEITHER):
                yield path
    yield from (ROOT / page for page in PAGES)


def offences(path: Path) -> Iterator[str]:
    """file:line, the retired word and what to write instead."""
    yield from found_in(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))


def found_in(name: str, text: str) -> Iterator[str]:
    lines = text.splitlines()
    # camelCase as snake_case: a word ends where letters end.
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text)
    for retired in RETIRED:
        if retired.concerns(name):
            for found in retired.pattern.finditer(text):
                number = text.count("\n", 0, found.start()) + 1
                if not re.search(retired.unless, lines[number - 1]):
                    yield f"{name}:{number}: {found[0]!r}, instead: {retired.instead}"


def test_no_retired_word_is_written():
    found = [offence for path in files() for offence in offences(path)]
    assert not found, f"{len(found)} retired words:\n" + "\n".join(found)


def test_a_retired_word_is_found_in_every_spelling():
    """In snake_case, in capitals and in a plural; not inside another word, and not where the line means otherwise."""
    (image,) = (each for each in RETIRED if each.instead == "image")
    assert image.pattern.search("a_picture_of")
    assert image.pattern.search("Pictures")
    assert not image.pattern.search("picturesque")
    assert image.concerns("training/loop/step.py")
    assert image.concerns("tests/training/test_steps.py")
    assert not image.concerns("docs/training.md")


def test_a_retired_word_is_found_in_camel_case():
    assert len(list(found_in("nodes/web/x.js", "function boxInWords(box) {}"))) == 1
    assert len(list(found_in("tests/training/x.py", "class FaceVectors: ..."))) >= 1
    assert not list(found_in("nodes/web/x.js", "function boxText(box) {}"))
