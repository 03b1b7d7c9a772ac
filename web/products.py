"""Products: what is sold. Anybody may look; admins write."""

from typing import Any

from flask.wrappers import Response

from models import catalogue
from models.catalogue import NewProduct, ProductQuery
from models.clock import to_iso
from models.product import Product
from models.product_sale import create_product
from web.access import admin_required, public
from web.auth import current_user
from web.envelope import ok
from web.openapi import api_blueprint
from web.schemas import Envelope, PageEnvelope
from web.schemas_catalogue import (
    NewProductView,
    ProductBody,
    ProductChanges,
    ProductPath,
    ProductsQuery,
    ProductView,
)

blueprint = api_blueprint("products", __name__, url_prefix="/api/products", tag="products", about="What is sold")


def product_json(product: Product) -> dict[str, Any]:
    return {
        "id": str(product.id),
        "name": product.name,
        "slug": product.slug,
        "description": product.description,
        "images": product.images,
        "price": product.price,
        "currency": product.currency,
        "stock": product.stock,
        "monthlyAllotment": product.monthly_allotment,
        "rating": product.rating,
        "totalReviews": product.total_reviews,
        "category": {"id": str(product.category.id), "name": product.category.name} if product.category else None,
        "createdAt": to_iso(product.created_at),
        "updatedAt": to_iso(product.updated_at),
    }


@blueprint.get("", responses={200: PageEnvelope[ProductView]})
@public
def list_all(query: ProductsQuery) -> Response:
    """All products"""
    wanted = ProductQuery(
        page=query.page,
        limit=query.limit,
        search=query.search_term,
        category_id=query.category_id,
        sort_by=query.sort_by,
        sort_order=query.sort_order,
    )
    products, total = catalogue.list_products(wanted)
    data = [product_json(product) for product in products]
    return ok(data, "Products retrieved successfully", meta=query.meta(total))


@blueprint.get("/<id:product_id>", responses={200: Envelope[ProductView]})
@public
def show(path: ProductPath) -> Response:
    """One product"""
    return ok(product_json(catalogue.find_product(path.product_id)), "Product retrieved successfully")


@blueprint.post("", responses={201: Envelope[NewProductView]})
@admin_required
def create(body: ProductBody) -> Response:
    """Make a product; its slug is made from its name, and with `totalStock` it is on sale at once"""
    given = body.given()
    total_stock = given.pop("total_stock", None)
    product, sale_id = create_product(NewProduct(**given), total_stock, actor_id=current_user().user_id)
    on_sale = {"totalStock": total_stock, "flashSaleId": str(sale_id)} if sale_id else {}
    location = {"Location": f"/api/products/{product.id}"}
    return ok(product_json(product) | on_sale, "Product created successfully", status=201, headers=location)


@blueprint.patch("/<id:product_id>", responses={200: Envelope[ProductView]})
@admin_required
def update(path: ProductPath, body: ProductChanges) -> Response:
    """Change a product; sales that were made keep the price that they were made with"""
    product = catalogue.update_product(path.product_id, body.given())
    return ok(product_json(product), "Product updated successfully")


@blueprint.delete("/<id:product_id>", responses={200: Envelope[ProductView]})
@admin_required
def delete(path: ProductPath) -> Response:
    """Delete a product; one that was ever in a sale is archived instead, so that history keeps its name"""
    product = catalogue.delete_product(path.product_id)
    done = "deleted" if product.archived_at is None else "archived"
    return ok(product_json(product), f"Product {done} successfully")
