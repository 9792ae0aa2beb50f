"""The shop's page in a browser, with JavaScript and without; it is the same page under every framework."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FLASK = ("flask", "run", "--port", "{port}")

SCRIPT = pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])


@SCRIPT
def test_a_person_orders_and_watches(site: Any, pages: Any, shoot: Any, script: bool) -> None:
    """The page places an order and shows its steps as they happen, with JavaScript or without."""
    server = site.serve(*FLASK, ORDERS_STEP_DELAY_MS="700", ORDERS_FAIL="reserve:1", ORDERS_RETRY_DELAY_MS="1500")
    page: Page = pages(script=script)
    page.goto(server.url)
    shoot(page, "form")
    page.get_by_label("Brass sharpener").fill("2")
    page.get_by_label("E-mail").fill("grace@example.com")
    page.get_by_label("Order number").fill("7")
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_role("heading")).to_have_text("Order 7")
    steps = page.get_by_role("listitem")
    expect(steps).to_contain_text(["Check the order", "goods aside", "Charge the customer", "confirmation"])
    expect(steps.nth(0)).to_contain_text("Done", timeout=10_000)
    expect(steps.nth(1)).to_contain_text("Trying again", timeout=10_000)
    expect(steps.nth(1)).to_contain_text("reserve did not answer (attempt 1)")
    expect(steps.nth(3)).to_contain_text("To do")
    page.screenshot(path=site.tmp / "running.png")
    expect(page.get_by_role("status")).to_have_text("Complete", timeout=15_000)
    expect(steps).to_contain_text(["Done"] * 4)
    expect(page.get_by_role("definition")).to_contain_text([re.compile(r"^€ 34\.10$"), "rs_", "ch_", "msg_"])
    shoot(page, "done")
    result = server.ask("GET", "/status/order/7").json["result"]
    expect(page.get_by_role("definition").nth(2)).to_have_text(result["charge_id"])
    page.get_by_role("link", name="More about this run").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("order/7")
    shoot(page, "more")


@SCRIPT
def test_a_person_is_told_what_is_wrong(site: Any, pages: Any, shoot: Any, script: bool) -> None:
    """The form comes back as it was filled in, with what the shop did not understand."""
    page: Page = pages(script=script)
    page.goto(site.serve(*FLASK).url)
    page.get_by_label("Notebook").fill("0")
    page.get_by_label("Order number").fill("a:b")
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_role("alert")).to_contain_text("Goods must hold from 1 to 100 items")
    page.get_by_label("Notebook").fill("1")
    page.get_by_role("button", name="Place order").click()
    expect(page.get_by_role("alert")).to_contain_text("which is reserved")
    expect(page.get_by_label("Order number")).to_have_value("a:b")
    shoot(page, "wrong")
