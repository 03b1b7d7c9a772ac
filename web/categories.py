"""Categories: the shelves of the shop. Anybody may look; admins write."""

from typing import Any

from flask.wrappers import Response

from models import categories
from models.clock import to_iso
from models.product import Category
from web.access import admin_required, public
from web.envelope import ok
from web.openapi import api_blueprint, refusal
from web.schemas import Envelope, PageEnvelope, PageQuery
from web.schemas_catalogue import CategoryBody, CategoryPath, CategoryView

blueprint = api_blueprint(
    "categories", __name__, url_prefix="/api/categories", tag="categories", about="The shelves of the shop"
)

EXISTS = refusal("`CATEGORY_EXISTS`")


def category_json(category: Category) -> dict[str, Any]:
    return {
        "id": str(category.id),
        "name": category.name,
        "slug": category.slug,
        "createdAt": to_iso(category.created_at),
    }


@blueprint.get("", responses={200: PageEnvelope[CategoryView]})
@public
def list_all(query: PageQuery) -> Response:
    """All categories, by name"""
    found, total = categories.list_categories(query.page, query.limit)
    data = [category_json(category) for category in found]
    return ok(data, "Categories retrieved successfully", meta=query.meta(total))


@blueprint.get("/<id:category_id>", responses={200: Envelope[CategoryView]})
@public
def show(path: CategoryPath) -> Response:
    """One category"""
    return ok(category_json(categories.find_category(path.category_id)), "Category retrieved successfully")


@blueprint.post("", responses={201: Envelope[CategoryView], 409: EXISTS})
@admin_required
def create(body: CategoryBody) -> Response:
    """Make a category; its slug is made from its name"""
    category = categories.create_category(body.name)
    location = f"/api/categories/{category.id}"
    return ok(category_json(category), "Category created successfully", status=201, headers={"Location": location})


@blueprint.patch("/<id:category_id>", responses={200: Envelope[CategoryView], 409: EXISTS})
@admin_required
def rename(path: CategoryPath, body: CategoryBody) -> Response:
    """Rename a category; its slug stays"""
    category = categories.rename_category(path.category_id, body.name)
    return ok(category_json(category), "Category updated successfully")


@blueprint.delete(
    "/<id:category_id>",
    responses={200: Envelope[CategoryView], 409: refusal("`CATEGORY_IN_USE`")},
)
@admin_required
def delete(path: CategoryPath) -> Response:
    """Delete a category that no product stands in"""
    category = categories.delete_category(path.category_id)
    return ok(category_json(category), "Category deleted successfully")
