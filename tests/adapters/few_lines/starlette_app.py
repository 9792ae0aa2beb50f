from business import charge_card, mail_manager, read_order, release, reserve
from starlette.applications import Starlette
from starlette.routing import Route

from resonate_web.starlette import Resonate

resonate = Resonate()


@resonate.register
def process_order(ctx, order):
    hold = yield ctx.run(reserve, order)
    if order["total"] > 1000:
        approval = yield ctx.approval("manager", summary=f"An order of {order['total']}")
        yield ctx.run(mail_manager, approval.url)
        if not (yield approval).approved:
            return (yield ctx.run(release, hold))
    return (yield ctx.run(charge_card, order))


async def create_order(request):
    order = read_order(await request.body())
    return await resonate.astart(order["id"], process_order, order)


app = Starlette(routes=[Route("/orders", create_order, methods=["POST"])])
resonate.init_app(app)
