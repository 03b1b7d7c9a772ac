"""The live desk of a sale, and its report afterwards, as a page and as CSV."""

from flask import Response, render_template

from models.desk import read_desk
from models.report import report_of
from web.access import admin_required
from web.desk.api import desk_json
from web.desk.charts import bars_of, curve_of
from web.desk.pages import desk_blueprint
from web.desk.report_csv import report_csv

blueprint = desk_blueprint("live", "/sales")


@blueprint.get("/<id:sale_id>/desk")
@admin_required
def desk(sale_id: int) -> str:
    """What the page says at first is what its script is told once a second from then on."""
    return render_template("desk/live.html", desk=desk_json(read_desk(sale_id)))


@blueprint.get("/<id:sale_id>/report")
@admin_required
def report(sale_id: int) -> str:
    found = report_of(sale_id)
    return render_template(
        "desk/report.html", report=found, curve=curve_of(found.curve, found.sale.total_stock), bars=bars_of(found)
    )


@blueprint.get("/<id:sale_id>/report.csv")
@admin_required
def report_as_csv(sale_id: int) -> Response:
    return Response(
        report_csv(report_of(sale_id)),
        mimetype="text/csv",
        headers={
            "Content-Disposition": f'attachment; filename="sale-{sale_id}-report.csv"',
            "Cache-Control": "no-store",
        },
    )
