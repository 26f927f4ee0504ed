"""What a change of the programme does to members: four effects, and the change that carries one. Standard library only."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Effect(StrEnum):
    """What a difference between two versions does to members."""

    GIVES_MORE = "gives more"
    TAKES_AWAY = "takes away"
    SHORTENS = "shortens validity"
    NEUTRAL = "neutral"


NEEDS_APPROVAL = frozenset({Effect.TAKES_AWAY, Effect.SHORTENS})


@dataclass(frozen=True)
class Change:
    """One difference: the key, what it was and becomes (None: not set), what that does, and why it is seen so."""

    key: str
    before: Any
    after: Any
    effect: Effect
    why: str

    def as_json(self) -> dict[str, Any]:
        """For the proposal's row, and for machines."""
        return asdict(self) | {"effect": self.effect.value}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Change":
        """Undo ``as_json``."""
        return cls(**{**stored, "effect": Effect(stored["effect"])})


def needs_approval(changes: Iterable[Change]) -> bool:
    """Tell whether a second person has to approve: something is taken away, or lasts less long."""
    return any(change.effect in NEEDS_APPROVAL for change in changes)
