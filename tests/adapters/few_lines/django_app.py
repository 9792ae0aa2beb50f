from business import charge_card, mail_manager, read_order, release, reserve
from django.core.wsgi import get_wsgi_application
from django.urls import include, path

from resonate_web.django import resonate


@resonate.register
def process_order(ctx, order):
    hold = yield ctx.run(reserve, order)
    if order["total"] > 1000:
        approval = yield ctx.approval("manager", summary=f"An order of {order['total']}")
        yield ctx.run(mail_manager, approval.url)
        if not (yield approval).approved:
            return (yield ctx.run(release, hold))
    return (yield ctx.run(charge_card, order))


def create_order(request):
    order = read_order(request.body)
    return resonate.start(order["id"], process_order, order)


urlpatterns = [path("orders", create_order), path("", include("resonate_web.django.urls"))]
app = get_wsgi_application()
