"""What an SMS costs: its alphabet, its length and its parts (3GPP TS 23.038)."""

from dataclasses import dataclass

GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
TWICE = frozenset("^{}\\[~]|€\f")


@dataclass(frozen=True)
class SmsLength:
    """Alphabet (``GSM-7`` or ``UCS-2``), characters as they are charged, parts."""

    alphabet: str
    characters: int
    parts: int


def sms_length(text: str) -> SmsLength:
    """How a text is charged: one character outside GSM-7 makes all of it dearer."""
    if not dearer(text):
        characters = len(text) + sum(character in TWICE for character in text)
        return SmsLength("GSM-7", characters, 1 if characters <= 160 else -(-characters // 153))
    characters = len(text.encode("utf-16-be")) // 2
    return SmsLength("UCS-2", characters, 1 if characters <= 70 else -(-characters // 67))


def dearer(text: str) -> str:
    """The characters that GSM-7 does not have, each once."""
    return "".join(character for character in dict.fromkeys(text) if character not in GSM | TWICE)
