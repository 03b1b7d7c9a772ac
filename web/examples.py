"""An example of every body that the API takes, by operation: for the docs pages, generated clients and Postman."""

from typing import Any

EXAMPLES: dict[str, dict[str, Any]] = {
    "accountsSignUp": {"name": "Ann Buyer", "email": "ann@example.com", "password": "customer123"},
    "accountsLogIn": {"email": "ann@example.com", "password": "customer123"},
    "accountsRefreshSession": {"refreshToken": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.signature"},
    "accountsLogOut": {"refreshToken": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.signature"},
    "categoriesCreate": {"name": "Shoes"},
    "categoriesRename": {"name": "Running shoes"},
    "productsCreate": {
        "name": "Runner 9",
        "description": "Light, and gone in a minute.",
        "images": ["https://shop.example.com/runner-9.jpg"],
        "price": 99.99,
        "currency": "USD",
        "categoryId": "1",
    },
    "productsUpdate": {"price": 89.99},
    "salesCreate": {
        "productId": "1",
        "title": "Runner 9 at half the price",
        "flashPrice": 49.99,
        "totalStock": 200,
        "startTime": "2030-01-31T18:00:00Z",
        "endTime": "2030-01-31T20:00:00Z",
        "maxPerUser": 2,
    },
    "salesPatch": {"totalStock": 300, "isFeatured": True},
    "purchasesBuy": {"quantity": 1},
}
