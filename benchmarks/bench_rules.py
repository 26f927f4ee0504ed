"""Order import, from the file to the posted ledger, under five rules and four tiers against a single rate.

Both sides are ``bench_import``'s `ours` with the same file of about 20 lines an order: stored order by order, judged,
posted with every guard. The members are enrolled before, and one in five holds gold; the rules ask for skus, days, the
amount of the order, the tier and the first order. Lines a second; every round in a database of its own.

    python benchmarks/bench_rules.py
    python benchmarks/bench_rules.py --size 32000 --rounds 3
"""

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import bench_import
import kit

FIVE_RULES: dict[str, Any] = {
    "earn": {
        "rate": [
            {"points_per_unit": "2", "skus": [str(20_000 + n) for n in range(40)], "weekdays": ["thu", "fri"]},
            {"points_per_unit": "1", "exclude_skus": ["POST"]},
        ],
        "multiplier": [
            {"factor": "1.5", "tiers": ["gold"]},
            {"factor": "2", "through": kit.START + dt.timedelta(days=30), "min_order_amount": "500"},
        ],
        "bonus": [{"points": 50, "min_order_amount": "2000", "first_order": True}],
    },
    "tier": [
        {"code": "member", "enter_at": 0},
        {"code": "silver", "enter_at": 500},
        {"code": "gold", "enter_at": 2000},
        {"code": "platinum", "enter_at": 8000},
    ],
}
MEMBERS = """
insert into points.member (member_no, joined_on) select n::text, '{start}' from generate_series(10000, 10000 + {members}) n;
insert into points.tier_decision (member_id, decision_no, decided_on, held_from, tier, what, metric, amount, window_from,
        window_through, threshold, policy_version, sentence)
    select member_id, 1, date '{start}' - 1, '{start}', 'gold', 'upgrade', 'points_earned', 2000, date '{start}' - 365,
        date '{start}' - 1, 2000, 1, 'Generated.'
    from points.member where member_id % 5 = 0;
"""


def main() -> None:
    """The same file under both programmes, in turn, one table."""
    options = kit.arguments(__doc__, "lines of the file", 320_000, "Goal: 0.7.").parse_args()
    with kit.server(options.directory) as server, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orders.csv"
        bench_import.write_orders(path, lines=options.size, lines_an_order=20, returns=0.02)
        for template, sections in (("five", FIVE_RULES), ("plain", {})):
            admin = server.engine(server.ledger(template, **sections))
            members = options.size // 20
            kit.execute(admin, MEMBERS.format(start=kit.START, members=members), "VACUUM (ANALYZE)", "CHECKPOINT")
        server.dispose()  # a template has no other session

        def side(template: str) -> float:
            engine = server.engine(server.database("round", template=template), "loyalty_batch", connections=2)
            try:
                return bench_import.ours(engine, path, options.size)
            finally:
                engine.dispose()
                server.maintain("DROP DATABASE round WITH (FORCE)")

        sides = kit.alternate(options.rounds, lambda _: side("five"), lambda _: side("plain"))
        row = kit.compare("order import, five rules and four tiers", "lines/s", "one rate", 0.7, sides)
        kit.report([row])


if __name__ == "__main__":
    main()
