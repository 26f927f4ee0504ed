"""Names and addresses of members who do not exist: what the demo writes its notices to."""

import random
from pathlib import Path
from typing import Final

_NAMES: Final = {
    "en": ("Ada", "Ben", "Chloe", "Dev", "Ewan", "Freya", "Grace", "Hamish"),
    "zh_CN": ("王芳", "李伟", "张敏", "刘洋", "陈静", "杨帆", "赵磊", "黄丽"),
}


def write_contacts(members: Path, *, share: float, seed: int) -> Path:
    """Write ``contacts.csv`` beside ``members.csv``: a name in their language and an address for a share of the members.

    Half of them read Chinese. The addresses end in names that no mail server has (RFC 2606); the sink delays one in eight.
    """
    rng = random.Random(seed)  # noqa: S311 - invented people
    rows = []
    for line in members.read_text("utf-8").splitlines()[1:]:
        member_no = line.split(",")[0]
        if rng.random() < share:
            locale = rng.choice(tuple(_NAMES))
            name = rng.choice(_NAMES[locale])
            host = "later.example" if rng.random() < 1 / 8 else "members.example"
            rows.append(f"{member_no},{locale},{name},{member_no.lower()}@{host},{rng.choice(('yes', 'no'))}")
    path = members.with_name("contacts.csv")
    path.write_text("\n".join(["member_no,locale,name,email,consent_marketing", *rows, ""]), "utf-8")
    return path
