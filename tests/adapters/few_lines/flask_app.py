from business import charge_card, mail_manager, read_order, release, reserve
from flask import Flask, request

from resonate_web.flask import Resonate

app = Flask(__name__)
resonate = Resonate(app)


@resonate.register
def process_order(ctx, order):
    hold = yield ctx.run(reserve, order)
    if order["total"] > 1000:
        approval = yield ctx.approval("manager", summary=f"An order of {order['total']}")
        yield ctx.run(mail_manager, approval.url)
        if not (yield approval).approved:
            return (yield ctx.run(release, hold))
    return (yield ctx.run(charge_card, order))


@app.post("/orders")
def create_order():
    order = read_order(request.get_data())
    return resonate.start(order["id"], process_order, order)
