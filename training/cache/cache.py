"""A cache as training reads it, from a folder or from values in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .entries import FIRST_BASE, FIRST_TEXTS, UNKNOWN, CropEntry, FaceEntry, FaceRecord, ImageEntry, Negatives


@dataclass(frozen=True, eq=False)
class Cache:
    """Prepared photos.

    identities    names of the known people
    images      every usable photo
    faces         their chosen faces; `face` reads one with its embeddings
    arcface       float32 [faces, 512], raw embeddings of the recognizer that training uses
    second        float32 [faces, width], embeddings of the recognizer that is kept for evaluation, or None
    negatives     faces to be unlike
    dummies       keys of the texts that stand for a number of people: 0 is the empty text
    tensors       latents, texts and SigLIP tokens by key
    fingerprints  of everything the tensors depend on, by kind: faces, second, vae, text, siglip
    data          SHA-256 over the photos, names and captions
    files         the model files behind the fingerprints: name to SHA-256
    text_encoders  where prepare.py found them, by their names in its settings
    base, texts   the base model that latents and texts are for, and the names of a text's tensors
    """

    identities: tuple[str, ...]
    images: tuple[ImageEntry, ...]
    faces: tuple[FaceRecord, ...]
    arcface: Tensor
    negatives: Negatives
    dummies: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    second: Tensor | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    text_encoders: Mapping[str, str] = field(default_factory=dict)
    base: str = FIRST_BASE
    texts: tuple[str, ...] = FIRST_TEXTS

    def check_models(self, wanted: Mapping[str, str]) -> None:
        """ValueError where the cache was not made with the model files `wanted`, by SHA-256 with their names."""
        for name, digest in wanted.items():
            if digest not in self.files.values():
                made = ", ".join(self.files) or "files it does not name"
                raise ValueError(
                    f"The cache was made with other models: {name} ({digest[:12]}) is not among them ({made}). Run "
                    "prepare.py with this file; it rebuilds only what depends on it. Or train with the file the "
                    "cache was made with."
                )

    def latent(self, entry: ImageEntry, crop: int) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the VAE's posterior, float32 [channels, height_px / 8, width_px / 8] each.

        Not scaled and not shifted: as the VAE's encoder gives them.
        """
        key = entry.crops[crop].latent
        return self._read(key, "mean"), self._read(key, "logvar")

    def text(self, entry: ImageEntry) -> dict[str, Tensor]:
        """The caption's embedding: the tensors named in `texts`, float32."""
        return self._text(entry.text)

    def dummy_text(self, people: int) -> dict[str, Tensor]:
        """The embedding of "one person", "two people", ...; of the empty text for 0.

        Raises ValueError for more people than were prepared.
        """
        if not 0 <= people < len(self.dummies):
            raise ValueError(
                f"The cache has texts for 0 to {len(self.dummies) - 1} people, and {people} were asked for. Prepare "
                "it again with a larger max_faces."
            )
        return self._text(self.dummies[people])

    @property
    def variants(self) -> int:
        """Jittered crops of each face whose SigLIP tokens are kept."""
        return min((len(face.jittered) for face in self.faces), default=0)

    def face(self, index: int, variant: int = 0) -> FaceEntry:
        """A face with its embeddings; SigLIP tokens of its crop, or of a jittered one (`variant` from 1)."""
        record = self.faces[index]
        key = record.jittered[variant - 1] if variant else record.siglip
        siglip = self._read(key, "tokens") if key else None
        flipped = self._read(key, "flipped") if key else None
        return FaceEntry(record, self.arcface[index], siglip, flipped)

    def name_of(self, face: int) -> str:
        """Whose face that is; empty where nobody knows."""
        identity = self.faces[face].identity
        return "" if identity == UNKNOWN else self.identities[identity]

    def faces_of(self, identity: int, held_out: bool = False) -> tuple[int, ...]:
        """Indices of the faces of a known person, in photos that are held out or in those that are not."""
        return tuple(
            index
            for index, face in enumerate(self.faces)
            if face.identity == identity and self.images[face.image].held_out == held_out
        )

    def bucket(self, entry: ImageEntry, crop: int) -> tuple[int, int, int]:
        """Width and height in pixels and the number of people: what the samples of one batch have in common."""
        cut: CropEntry = entry.crops[crop]
        return cut.width_px, cut.height_px, len(cut.faces)

    def _text(self, key: str) -> dict[str, Tensor]:
        return {name: self._read(key, name) for name in self.texts}

    def _read(self, key: str, what: str) -> Tensor:
        try:
            return self.tensors[f"{key}.{what}"].to(torch.float32)
        except KeyError:
            raise ValueError(
                f"The cache lacks a tensor its index names ({key}.{what}): a file was deleted or is damaged. Run "
                "prepare.py again; it makes only what is missing."
            ) from None
