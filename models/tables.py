"""Every table in one import, for migrations and for the test that compares them with the models."""

from models import sale_ranges as sale_ranges  # noqa: PLC0414 - the view, functions and triggers beside the tables
from models.archives import ArchivedBook, HistoryArchive
from models.database import Base
from models.fraud import FraudRecord
from models.ip_rule import IpRule
from models.movement import StockMovement
from models.operator_log import OperatorEntry
from models.product import Category, Product
from models.purchase import Purchase
from models.receipts import Receipt
from models.refusals import SaleRefusal
from models.sale import FlashSale
from models.series import BuyerMonth, ProductMonth, Series, SeriesMonth, SeriesReset, SeriesRun
from models.standing import StandingVersion
from models.totals import BuyerTotal
from models.user import User

__all__ = [
    "ArchivedBook",
    "Base",
    "BuyerMonth",
    "BuyerTotal",
    "Category",
    "FlashSale",
    "FraudRecord",
    "HistoryArchive",
    "IpRule",
    "OperatorEntry",
    "Product",
    "ProductMonth",
    "Purchase",
    "Receipt",
    "SaleRefusal",
    "Series",
    "SeriesMonth",
    "SeriesReset",
    "SeriesRun",
    "StandingVersion",
    "StockMovement",
    "User",
]

metadata = Base.metadata
