"""A sale as clients see it. Every answer about a sale carries the server's time, for the client's countdown."""

from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from models.audit import Audit
from models.clock import now, to_iso
from models.product import Product
from models.sale import FlashSale, SaleState


def sale_json(sale: FlashSale) -> dict[str, Any]:
    """Money is a JSON number in `currency`, `discount` is percent to one decimal, times are ISO 8601 in UTC."""
    moment = now()
    return {
        "id": str(sale.id),
        "title": sale.title,
        "description": sale.description,
        "productId": str(sale.product_id),
        "originalPrice": sale.original_price,
        "flashPrice": sale.flash_price,
        "discount": _discount(sale),
        "currency": sale.currency,
        "totalStock": sale.total_stock,
        "soldCount": sale.sold,
        "reservedCount": sale.reserved,
        "remainingStock": sale.remaining,
        "startTime": to_iso(sale.starts_at),
        "endTime": to_iso(sale.ends_at) if sale.ends_at else None,
        "status": time_status(sale, moment),
        "state": sale.state,
        "endReason": sale.end_reason,
        "isActive": not sale.paused and sale.state != SaleState.CANCELLED,
        "isFeatured": sale.featured,
        "maxPerPurchase": sale.max_per_purchase,
        "maxPerUser": sale.max_per_user,
        "holdSeconds": sale.hold_seconds,
        "dedicated": sale.dedicated,
        "settledThrough": sale.settled_through,
        "seq": sale.revision,
        "createdAt": to_iso(sale.created_at),
        "updatedAt": to_iso(sale.updated_at),
        "product": _product_json(sale.product),
        "serverTime": to_iso(moment),
    }


def _discount(sale: FlashSale) -> Decimal | None:
    """In percent, half up. From the prices: the column was rounded already."""
    if sale.original_price is None or sale.flash_price is None:
        return None
    percent = (sale.original_price - sale.flash_price) * 100 / sale.original_price
    return percent.quantize(Decimal("0.1"), ROUND_HALF_UP)


def time_status(sale: FlashSale, moment: datetime) -> str:
    """UPCOMING, LIVE, ENDED by the clock, or PAUSED for a running sale that is held back."""
    if sale.state in (SaleState.ENDED, SaleState.CANCELLED) or (sale.ends_at and sale.ends_at <= moment):
        return "ENDED"
    if sale.starts_at > moment:
        return "UPCOMING"
    return "PAUSED" if sale.paused else "LIVE"


def _product_json(product: Product) -> dict[str, Any]:
    category = product.category
    return {
        "id": str(product.id),
        "name": product.name,
        "slug": product.slug,
        "images": product.images,
        "price": product.price,
        "stock": product.stock,
        "category": {"id": str(category.id), "name": category.name} if category else None,
        "rating": product.rating,
        "totalReviews": product.total_reviews,
    }


def audit_json(audit: Audit) -> dict[str, Any]:
    return {
        "saleId": str(audit.sale_id),
        "agrees": audit.agrees,
        "checks": [
            {"name": check.name, "recorded": check.recorded, "counted": check.counted, "agrees": check.agrees}
            for check in audit.checks
        ],
        "ticketsByStatus": audit.tickets_by_status,
        "unitsByStatus": audit.units_by_status,
        "historyArchivedAt": to_iso(audit.history_archived_at) if audit.history_archived_at else None,
        "serverTime": to_iso(now()),
    }
