"""Several connections at once: threads that take parcels one by one and answer each exactly once."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from infra.senders.protocol import Answered, Outcome, Parcel

Deliver = Callable[[Parcel], Outcome]
Opened = Callable[[], Deliver]


def fan_out(parcels: Iterable[Parcel], answered: Answered, *, at_once: int, deliverer: Opened) -> None:
    """Deliver with up to ``at_once`` threads; tell ``answered`` in the thread of the delivery, at once.

    ``deliverer`` is called once in every thread. What ``parcels``, a delivery or ``answered`` raises is raised here when
    every thread has ended; after it no more parcels are taken.
    """
    source, turn = iter(parcels), threading.Lock()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            deliver = deliverer()
            while True:
                with turn:
                    parcel = None if raised else next(source, None)
                if parcel is None:
                    return
                answered(parcel.notice_id, deliver(parcel))
        except BaseException as error:  # raised again by the caller's thread
            raised.append(error)

    threads = [threading.Thread(target=work, name=f"sender-{n}", daemon=True) for n in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


class OneCallEach(ABC):
    """The part of a sender that gives every message to its provider by one call, which any thread may make."""

    connections: int

    @abstractmethod
    def deliver(self, parcel: Parcel) -> Outcome:
        """Send one message."""

    def send(self, parcels: Iterable[Parcel], answered: Answered) -> None:
        """See ``Sender.send``."""
        fan_out(parcels, answered, at_once=self.connections, deliverer=lambda: self.deliver)
