"""The nightly expiry against bare SQL, and against itself with ten times the history behind it.

1. ``points_ledger.expiry.apply`` with every CHECK, trigger and key on, in commits of 500 members, against the same
   updates and inserts as unguarded SQL in the same chunks: tables with the same columns, primary keys and indexes, but
   no CHECK, trigger or foreign key.
2. The same call on a ledger whose members have ten times the entries and lots behind them: cost must follow what is
   due, not what is stored.

Each round is one night on which every member has two lots to lapse; half of the rounds are for each comparison, and
one night of each side before its rounds, which warms it, is not counted. Lots a second, medians of the rounds.

    python benchmarks/bench_expiry.py
    python benchmarks/bench_expiry.py --size 2000 --rounds 3
"""

import datetime as dt

import kit
from sqlalchemy import Engine, text

from points_ledger import expiry
from points_ledger.slices import CHUNK, array_of, chunks

DUE = 2  # lots a member has to lapse each night
LIVE = 4  # open lots a member keeps
HISTORY = 2  # closed lots behind a member: with what is open, about ten entries

BARE = """
create schema bare;
create table bare.wallet (like points.wallet including defaults, primary key (member_id)) with (fillfactor = 70);
create table bare.lot (like points.lot including defaults including generated, primary key (member_id, lot_seq))
    with (fillfactor = 80);
create index on bare.lot (valid_through, member_id) where is_open;
create index on bare.lot (member_id, valid_through, lot_seq) where is_open;
create table bare.entry (like points.entry including defaults including generated, primary key (member_id, seq, book_date))
    partition by range (book_date);
create index on bare.entry using brin (book_date) with (pages_per_range = 16, autosummarize = on);
do $$
declare month date;
begin
    for month in select generate_series(date_trunc('month', date '{start}'), date '{start}' + {days}, '1 month')::date loop
        execute format('create table bare.%I partition of bare.entry for values from (%L) to (%L)',
            'entry_' || to_char(month, 'YYYYMM'), month, (month + interval '1 month')::date);
    end loop;
end $$;
insert into bare.wallet select * from points.wallet;
insert into bare.lot (member_id, lot_seq, points, remaining, held, expired, effective_on, usable_from, valid_through, origin)
    select member_id, lot_seq, points, remaining, held, expired, effective_on, usable_from, valid_through, origin
    from points.lot;
insert into bare.entry (member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, usable_from, valid_through, policy_version, kind, source, source_ref)
    select member_id, seq, book_date, effective_on, journal_id, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, usable_from, valid_through, policy_version, kind, source, source_ref
    from points.entry order by book_date, member_id, seq;
"""

BARE_CHUNK = text("""
with due as (
    select l.member_id, l.lot_seq, l.remaining, l.valid_through, w.seq, w.balance, w.debt,
        row_number() over so_far as n, (sum(l.remaining) over so_far)::bigint as upto
    from bare.lot l join bare.wallet w on w.member_id = l.member_id
    where l.is_open and l.valid_through <= :closed and l.member_id = any(CAST(:members AS bigint []))
    window so_far as (partition by l.member_id order by l.valid_through, l.lot_seq)
), posted as (
    insert into bare.entry (member_id, seq, book_date, effective_on, journal_id, kind, points, lot_seq, lot_remaining_after,
        balance_after, debt_after, run_id, source, source_ref)
    select member_id, seq + n, CAST(:closed AS date) + 1, valid_through + 1,
        md5(member_id || E'\\x1f' || 'expiry' || E'\\x1f' || lot_seq)::uuid, 'expire', remaining, lot_seq, 0, balance - upto,
        debt, 1, 'expiry', lot_seq::text
    from due
), emptied as (
    update bare.lot l set remaining = 0, expired = due.remaining
    from due where l.member_id = due.member_id and l.lot_seq = due.lot_seq
)
update bare.wallet w set balance = d.balance, seq = d.seq, last_book = CAST(:closed AS date) + 1
from (select member_id, min(balance) - sum(remaining) as balance, min(seq) + count(*) as seq from due group by member_id) as d
where w.member_id = d.member_id
""")


def main() -> None:
    """Fill three ledgers, run the nights, print both tables."""
    options = kit.arguments(
        __doc__, "members, each with 2 lots to lapse a night", 10_000, "Goals: 0.75 of bare; 0.9 of its own speed."
    ).parse_args()
    # lots 1..LIVE stay; of the others, DUE lapse each night
    lots = LIVE + DUE * (options.rounds + 1)
    due = (
        f"case when l <= {LIVE} then date '{{first}}' + 365 else date '{{first}}' + ((l - {LIVE} - 1) / {DUE})::int end"
    )
    first = kit.START + dt.timedelta(days=160)
    with kit.server(options.directory) as server:
        engines = {}
        for name, history in (("small", HISTORY), ("large", 10 * HISTORY + 9 * lots // 2)):
            url = server.ledger(name)
            admin = server.engine(url)
            kit.fill(admin, members=options.size, lots=lots, history=history, valid_through=due.format(first=first))
            engines[name] = server.engine(url, "loyalty_batch")
            print(name, *(f"{count:,} {what}" for what, count in sizes(admin)), flush=True)
            if name == "small":
                small = admin
                kit.execute(admin, BARE.format(start=kit.START, days=200), "VACUUM (ANALYZE)", "CHECKPOINT")
        nights = [first + dt.timedelta(days=n) for n in range(options.rounds + 1)]
        for engine in engines.values():
            with engine.begin() as connection:
                for night in nights:
                    connection.execute(text("SELECT points.open_day(:day)"), {"day": night + dt.timedelta(days=1)})
        lots_a_night = DUE * options.size

        def ours(engine: Engine, night: dt.date) -> float:
            with kit.stopwatch() as seconds:
                expiry.apply(engine, closed=night, run_id=1)
                return float(lots_a_night / seconds())

        ours(engines["small"], nights[0])
        apply_bare(small, nights[0])
        print("against bare SQL")
        bare = kit.alternate(
            options.rounds // 2 or 1,
            lambda n: ours(engines["small"], nights[1 + n]),
            lambda n: apply_bare(small, nights[1 + n]),
        )
        same = kit.one(
            small,
            "SELECT (SELECT sum(balance) FROM points.wallet) = (SELECT sum(balance) FROM bare.wallet)"
            " AND (SELECT (count(*), sum(balance_after)) FROM points.entry) = (SELECT (count(*), sum(balance_after)) FROM bare.entry)",
        )
        assert same[0], "both sides must have done the same work"
        print("with ten times the history")
        begun = options.rounds // 2 or 1
        ours(engines["large"], nights[0])  # only now: the rounds before would evict it again
        history = kit.alternate(
            options.rounds - begun,
            lambda n: ours(engines["large"], nights[1 + begun + n]),
            lambda n: ours(engines["small"], nights[1 + begun + n]),
        )
        kit.invariants(small, sample=7)
        kit.report([
            kit.compare("nightly expiry, all invariants on", "lots/s", "bare unguarded SQL", 0.75, bare),
            kit.compare("nightly expiry, 10 x the history", "lots/s", "the same without it", 0.9, history),
        ])  # fmt: skip


def apply_bare(engine: Engine, night: dt.date) -> float:
    """The same night on the tables without guards; lots a second."""
    with kit.stopwatch() as seconds:
        with engine.connect() as connection:
            rows = connection.execute(
                text(
                    "SELECT DISTINCT member_id FROM bare.lot WHERE is_open AND valid_through <= :closed ORDER BY member_id"
                ),
                {"closed": night},
            )
            members = [row[0] for row in rows]
        for chunk in chunks(members, CHUNK):
            with engine.begin() as connection:
                # the plan ours has: without this, the other side reads every lot for every chunk
                connection.execute(text("SET LOCAL enable_hashjoin = off"))
                connection.execute(text("SET LOCAL enable_mergejoin = off"))
                connection.execute(BARE_CHUNK, {"members": array_of(chunk), "closed": night})
        return DUE * len(members) / seconds()


def sizes(engine: Engine) -> list[tuple[str, int]]:
    """How much the ledger holds."""
    return [(name, kit.one(engine, f"SELECT count(*) FROM points.{name}")[0]) for name in ("wallet", "lot", "entry")]


if __name__ == "__main__":
    main()
