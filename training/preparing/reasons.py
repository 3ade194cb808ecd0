"""Why photos are not used: every cause once, with the photos it holds for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

NAMED_AT_MOST = 5


@dataclass(frozen=True)
class Reason:
    """A cause, the same words for every photo it holds for, and what is special about the one photo."""

    cause: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.cause} ({self.detail})" if self.detail else self.cause


def by_cause(reasons: Iterable[tuple[str, Reason]]) -> Iterator[tuple[str, list[str]]]:
    """The causes in the order they come in, each with its photos' names, details in brackets."""
    found: dict[str, list[str]] = {}
    for name, reason in reasons:
        found.setdefault(reason.cause, []).append(f"{name} ({reason.detail})" if reason.detail else name)
    yield from found.items()


def counted(names: Sequence[str], thing: str = "photo") -> str:
    """ "2 photos"; "1 file" """
    return f"{len(names)} {thing}{'s' * (len(names) != 1)}"


def first_of(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + f" and {more} more" * (more > 0)
