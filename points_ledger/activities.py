"""Activities as a feed: what members do besides buying, such as a check-in.

What they earn stands in ``sql/earn_activities.sql``. An activity by somebody the programme does not know waits for its
day to be closed, and is a finding then; one that no rule is about is stored all the same.
"""

from sqlalchemy import Connection

from points_ledger.feeds import Reading, Total
from points_ledger.policy import Policy
from points_ledger.redemptions import accept_events


def accept(connection: Connection, reading: Reading, policy: Policy, file_id: int) -> list[Total]:
    """Store the staged activities as waiting events; return the control total (there is no money).

    Raises:
        ImplausibleValue: a date beyond anything a shop can mean.
    """
    return accept_events(connection, "activities", reading, policy, file_id)
