"""Every table in one import, for migrations and for the test that compares them with the models."""

from models.database import Base
from models.movement import StockMovement
from models.product import Category, Product
from models.purchase import Purchase
from models.sale import FlashSale
from models.totals import BuyerTotal
from models.user import User

__all__ = ["Base", "BuyerTotal", "Category", "FlashSale", "Product", "Purchase", "StockMovement", "User"]

metadata = Base.metadata
