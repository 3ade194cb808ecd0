"""InfoNCE with extended negatives: a generated face is to resemble its own person more than thousands of others.

The negatives of a face are the other faces of its batch, in all processes, and rows of a bank, drawn by index. Letters
in tensor names: F faces, E length of a face embedding, K draws, N rows of the bank.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cache.entries import FILLED

# The default of the released program's InfoNCE; the paper names no value.
TAU = 0.1
# The paper's number of negatives. By tau ln(negatives) the pull on a face halves at a cosine of 0.83; with the batch's
# 63 alone it would at 0.41.
DRAWS = 4096
MIX_PEOPLE = 32
_COPIED = 2  # a copied row is read, written and read again, an element of the bank read once
_NOWHERE = -1e4  # a logit without weight or gradient, finite so that a face without negatives has a gradient of 0
_ROUNDING = 2e-6  # of a float32 cosine of 512 numbers
SAME_PERSON = 0.4  # cosine to the positive above which a negative is taken for the same person


@dataclass(frozen=True, eq=False)
class Bank:
    """Faces to be unlike, by person.

    unit_NE   float32, rows of length 1, those of one person beside each other
    owner_N   int64, the person's number in the caller's count, negative for people who are no one's
    starts_G  int64, first row of each person; every face that is no one's counts as a person
    sizes_G   int64, rows of each person
    group_of  int64: place in `starts_G` of each person of the caller's, -1 for those who are not in the bank
    """

    unit_NE: Tensor
    owner_N: Tensor
    starts_G: Tensor
    sizes_G: Tensor
    group_of: Tensor

    @classmethod
    def of(cls, embeddings_NE: Tensor, identities_N: Tensor) -> "Bank":
        """A bank of embeddings of any length; ValueError where it is empty or not finite."""
        if len(embeddings_NE) == 0 or not embeddings_NE.isfinite().all():
            raise ValueError(
                f"The bank of negatives holds {len(embeddings_NE)} faces, or values that are NaN or infinite; prepare "
                "the data again with photos of other people."
            )
        identities = identities_N.long()
        order = identities.argsort(stable=True)
        owner = identities[order]
        # Sorted, so people who are no one's (negative) come first, each a group of one.
        strangers = int((owner < 0).sum())
        known, counts = torch.unique_consecutive(owner[strangers:], return_counts=True)
        sizes = torch.cat([torch.ones(strangers, dtype=torch.long), counts])
        # A bank of strangers only has no person to look up: the table is then empty.
        group_of = torch.full((int(owner.max().clamp(min=-1)) + 1,), -1)
        group_of[known] = torch.arange(len(known)) + strangers
        unit = F.normalize(embeddings_NE.float()[order], dim=-1)
        return cls(unit, owner, sizes.cumsum(0) - sizes, sizes, group_of)

    @property
    def fillers(self) -> int:
        """Random embeddings that stand in for faces: the first so many rows, each a person of its own."""
        return int((self.owner_N == FILLED).sum())

    def to(self, device: torch.device | str) -> "Bank":
        parts = (self.unit_NE, self.owner_N, self.starts_G, self.sizes_G, self.group_of)
        return Bank(*(part.to(device) for part in parts))


@dataclass(frozen=True, eq=False)
class Contrast:
    """What the loss found for each face.

    losses_F   float32, with gradients
    hardest_F  cosine to the most alike negative, without gradients; -1 where a face has no negatives
    counts_F   negatives that were left
    """

    losses_F: Tensor
    hardest_F: Tensor
    counts_F: Tensor


def draw_rows(
    bank: Bank, identities: Sequence[int], count: int = DRAWS, generator: torch.Generator | None = None
) -> Tensor:
    """Rows of the bank for each face, int64 [F, count] on the CPU: a person at random, then one of their faces.

    With replacement, and never the face's own person (released program). Real faces come first: in a bank with fillers
    that has fewer real faces than `count`, each of them once, and fillers for the rest. ValueError where nobody else is
    in the bank.
    """
    numbers = torch.as_tensor(identities, dtype=torch.long)
    group_of, starts, sizes = bank.group_of.cpu(), bank.starts_G.cpu(), bank.sizes_G.cpu()
    known = (numbers >= 0) & (numbers < len(group_of))
    own_F1 = torch.full((len(numbers), 1), -1)
    own_F1[known, 0] = group_of[numbers[known]]
    fillers = bank.fillers
    others_F1 = len(sizes) - fillers - (own_F1 >= 0).long()
    if not fillers and (others_F1 == 0).any():
        raise ValueError("The bank of negatives holds one person only; add photos of other people.")
    # In float64: the largest float32 below 1, times a size, may round up to the size, which is a row too far.
    chances = torch.rand(2, len(numbers), count, generator=generator, dtype=torch.float64)
    group = fillers + (chances[0] * others_F1).long()
    # Drawn among the others alone: from the face's own group on, numbers move up by one.
    group += (group >= own_F1) & (own_F1 >= 0)
    group = group.clamp(max=len(sizes) - 1)  # where there is no real face, whose place fillers take
    rows = starts[group] + (chances[1] * sizes[group]).long()
    if fillers:
        for face, own in enumerate(own_F1[:, 0].tolist()):
            rows[face] = _real_first(bank, own, rows[face], generator)
    return rows


def _real_first(bank: Bank, own: int, drawn: Tensor, generator: torch.Generator | None) -> Tensor:
    """`drawn` rows where the bank has as many real faces; else each real face but those of group `own`, and fillers."""
    fillers, count = bank.fillers, len(drawn)
    real = torch.arange(fillers, len(bank.owner_N))
    if own >= 0:
        first = int(bank.starts_G[own])
        real = real[(real < first) | (real >= first + int(bank.sizes_G[own]))]
    if len(real) >= count:
        return drawn
    return torch.cat([real, torch.randint(fillers, (count - len(real),), generator=generator)])


def drawn_mix(bank: Bank, count: int = DRAWS) -> tuple[float, float, float]:
    """What a face of one of the bank's people is compared with, on average over draws for at most MIX_PEOPLE of them.

    Numbers of faces of the others of these people, of faces of anybody else, and of fillers; they add up to `count`.
    """
    people = (bank.group_of >= 0).nonzero()[:MIX_PEOPLE, 0].tolist()
    rows = draw_rows(bank, people or [-1], count, torch.Generator().manual_seed(0))
    owners = bank.owner_N.cpu()[rows]
    kinds = (owners >= 0, (owners < 0) & (owners != FILLED), owners == FILLED)
    known, strangers, fillers = (float(kind.sum()) / len(rows) for kind in kinds)
    return known, strangers, fillers


def contrast(
    generated_FE: Tensor,
    positives_FE: Tensor,
    identities_F: Tensor,
    others_OE: Tensor,
    other_identities_O: Tensor,
    bank: Bank | None = None,
    rows_FK: Tensor | None = None,
    tau: float = TAU,
    same_person: float = SAME_PERSON,
) -> Contrast:
    """InfoNCE of each generated face.

    generated_FE  raw embeddings of generated faces, with gradients
    positives_FE  what each should be: the embedding of its target
    identities_F  who each is; negative where nobody knows
    others_OE     embeddings of all target faces of the batch and who they are, also those of other processes; each
                  face's own person is left out, and its own target is by being too alike
    rows_FK       of `draw_rows`
    """
    # Only the generated face moves: positives and negatives carry no gradient (released program).
    made, positives = F.normalize(generated_FE.float(), dim=-1), F.normalize(positives_FE.float(), dim=-1).detach()
    others = F.normalize(others_OE.float(), dim=-1).detach()
    # Both at once: what takes time is reading the bank.
    both_2FE = torch.stack([made, positives])
    cosines = both_2FE @ others.T
    kept = ~_same(identities_F, other_identities_O)
    if bank is not None and rows_FK is not None:
        cosines = torch.cat([cosines, _cosines(both_2FE, bank.unit_NE, rows_FK)], dim=2)
        owners = bank.owner_N[rows_FK]
        # People who are no one's are nobody's own, although the numbers of both may be -1.
        kept = torch.cat([kept, (owners != identities_F[:, None]) | (owners < 0)], dim=1)
    negatives, alike = cosines
    # Below the bound by more than rounding, so that a stranger's own target is left out at a bound of 1 too.
    kept = kept & (alike.detach() < same_person - _ROUNDING)
    hardest = negatives.detach().masked_fill(~kept, -1.0).amax(1)
    return Contrast(info_nce((made * positives).sum(-1), negatives, kept, tau), hardest, kept.sum(1))


def info_nce(positive_F: Tensor, negatives_FK: Tensor, kept_FK: Tensor, tau: float = TAU) -> Tensor:
    """`logsumexp({positive / tau} and {negatives / tau}) - positive / tau` of each face, float32 [F], of cosines.

    The positive is part of the denominator, as in the released program, so the loss is never negative. Written as
    `softplus(logsumexp((negative - positive) / tau))`, which keeps small losses exact.
    """
    distances = torch.where(kept_FK, (negatives_FK - positive_F[:, None]) / tau, _NOWHERE)
    return F.softplus(distances.logsumexp(1))


def _same(identities_F: Tensor, others_O: Tensor) -> Tensor:
    return (identities_F[:, None] == others_O[None]) & (identities_F[:, None] >= 0)


def _cosines(both_2FE: Tensor, bank_NE: Tensor, rows_FK: Tensor) -> Tensor:
    """[2, F, K]. But for a huge bank all of it is multiplied and then picked from: copying rows moves more memory."""
    if len(bank_NE) <= _COPIED * rows_FK.numel():
        return (both_2FE @ bank_NE.T).gather(2, rows_FK.expand(2, -1, -1))
    return torch.einsum("tfe,fke->tfk", both_2FE, bank_NE[rows_FK])
