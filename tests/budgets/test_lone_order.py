"""What one order costs the store when nothing else happens.

Counted: every statement of every connection of the process. Looks for other processes' work come by the clock and are
switched off.
"""

ORDER = {"id": "o1", "qty": 2}
COMMITS = 6


def test_an_order_is_six_commits(counted, order):
    """Its start, four steps and its end: nothing else of a lone order is written."""
    client = counted()
    client.resonate.register(order)
    client.resonate.run("warm", order, ORDER)
    client.file.forget()
    client.resonate.run("order/1", order, ORDER)
    assert client.file.commits <= COMMITS


def test_an_order_reads_nothing(counted, order):
    """From the start to the end of an order no row is read: what this process holds, it knows."""
    client = counted()
    client.resonate.register(order)
    client.resonate.run("warm", order, ORDER)
    client.file.forget()
    client.await_runs(1, "finished", lambda: client.resonate.begin_run("order/1", order, ORDER))
    assert client.file.selects() == []


def test_a_result_costs_one_read(counted, order):
    """Who waits for a result looks once whether it is there, and is told afterwards."""
    client = counted()
    client.resonate.register(order)
    client.resonate.run("warm", order, ORDER)
    client.file.forget()
    client.resonate.run("order/1", order, ORDER)
    assert len(client.file.selects()) <= 1
