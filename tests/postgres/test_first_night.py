"""The shortest way through: orders in, nights closed, points lapse."""


def test_an_order_earns_is_spent_and_the_rest_lapses(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,2,60.50", "A1,m1,2026-01-01 10:00,POST,1,5")
    ledger.redemptions("R1,m1,2026-01-05 10:00,100")
    ledger.cancellations("R1,2026-01-05 11:00")

    ledger.close("2026-01-31")
    assert ledger.balance("m1") == (121, 0)
    ledger.close("2026-02-01")

    assert ledger.kinds("m1") == [("earn", 121), ("spend", 100), ("spend_reversal", 100), ("expire", 121)]
    assert ledger.balance("m1") == (0, 0)


def test_a_second_close_of_the_same_nights_changes_nothing(ledger):
    ledger.start()
    ledger.orders("A1,m1,2026-01-01 10:00,tea,2,60.50")
    ledger.close("2026-02-02")
    before = ledger.rows("SELECT * FROM points.entry ORDER BY 1, 2")

    assert ledger.close("2026-02-02") == []
    assert ledger.rows("SELECT * FROM points.entry ORDER BY 1, 2") == before
