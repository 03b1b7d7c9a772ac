"""The walk that the Postman collection takes through the API: each call with what it needs and what it leaves behind.

Run from top to bottom against a shop with a worker and an admin, every call answers with the status it names.
"""

from dataclasses import dataclass, field
from typing import Any

ADMIN = "adminToken"
CUSTOMER = "customerToken"


@dataclass(frozen=True, slots=True)
class Step:
    """One call. `status` is the answer it must have; `saves` puts parts of it into variables (name -> JSON path).

    What is not said comes from the description: path parameters are the variables of their names, the body is the
    operation's example.
    """

    operation: str
    name: str
    status: int
    token: str | None = None
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    path: dict[str, str] = field(default_factory=dict)
    saves: dict[str, str] = field(default_factory=dict)


SALE = {
    "productId": "{{productId}}",
    "title": "Half the price",
    "flashPrice": 49.99,
    "totalStock": 200,
    "startTime": "{{$isoTimestamp}}",
    "maxPerUser": 10,
}
WAIT = {"Prefer": "wait=10"}
HOLD = {"purchase_id": "{{holdId}}"}
HELD = {"userId": "{{userId}}", "productId": "{{productId}}", "quantity": 1}
# A range that no address is in: RFC 5737, section 3.
RANGE = {"network": "203.0.113.0/24", "action": "deny", "reason": "bots"}

FLOW = (
    Step(
        "accountsLogIn",
        "Log in as the admin",
        200,
        body={"email": "{{adminEmail}}", "password": "{{adminPassword}}"},
        saves={ADMIN: "data.accessToken"},
    ),
    Step(
        "categoriesCreate",
        "Make a category",
        201,
        ADMIN,
        body={"name": "Shoes {{$guid}}"},
        saves={"categoryId": "data.id"},
    ),
    Step("categoriesRename", "Rename the category", 200, ADMIN, body={"name": "Running shoes {{$guid}}"}),
    Step("categoriesShow", "Look at the category", 200),
    Step("categoriesListAll", "All categories", 200),
    Step(
        "productsCreate",
        "Make a product",
        201,
        ADMIN,
        body={"name": "Runner 9", "price": 99.99, "currency": "USD", "categoryId": "{{categoryId}}"},
        saves={"productId": "data.id"},
    ),
    Step("productsUpdate", "Change the product", 200, ADMIN, body={"description": "Light, and gone in a minute."}),
    Step("productsShow", "Look at the product", 200),
    Step("productsListAll", "All products", 200, query={"searchTerm": "Runner", "limit": "5"}),
    Step("salesCreate", "Make a sale that starts now", 201, ADMIN, body=SALE, saves={"saleId": "data.id"}),
    Step("salesCreate", "A second sale of the product is refused", 400, ADMIN, body=SALE),
    Step("salesPatch", "Feature the sale", 200, ADMIN, body={"isFeatured": True}),
    Step("salesShow", "Look at the sale", 200),
    Step("salesListLive", "What can be bought now", 200),
    Step("salesListAll", "Live sales, a page of them", 200, query={"status": "LIVE", "limit": "5"}),
    Step(
        "accountsSignUp",
        "Sign up as a customer",
        201,
        body={"name": "Ann Buyer", "email": "ann-{{$guid}}@example.com", "password": "customer123"},
        saves={"customerEmail": "data.user.email", "userId": "data.user.id"},
    ),
    Step(
        "accountsLogIn",
        "Log in as the customer",
        200,
        body={"email": "{{customerEmail}}", "password": "customer123"},
        saves={CUSTOMER: "data.accessToken", "refreshToken": "data.refreshToken"},
    ),
    Step("accountsShowMe", "Who am I", 200, CUSTOMER),
    Step("accountsCreateSocketTicket", "A ticket for the WebSocket", 201, CUSTOMER),
    Step(
        "purchasesBuy",
        "Buy, and wait for the outcome",
        201,
        CUSTOMER,
        body={"quantity": 1},
        headers={**WAIT, "Idempotency-Key": "{{$guid}}"},
        saves={"purchaseId": "data.purchaseId", "ticket": "data.ticket"},
    ),
    Step(
        "purchasesBuy",
        "Buy, and ask later",
        202,
        CUSTOMER,
        body={"quantity": 2},
        saves={"waitingPurchaseId": "data.purchaseId"},
    ),
    Step(
        "purchasesById",
        "Ask for the outcome, and wait for it",
        200,
        CUSTOMER,
        path={"purchase_id": "{{waitingPurchaseId}}"},
        query={"wait": "10"},
    ),
    Step("purchasesByTicket", "The first purchase by its ticket", 200, CUSTOMER),
    Step("purchasesMine", "My purchases", 200, CUSTOMER),
    Step(
        "purchasesBuy",
        "More than one buyer may have is refused",
        422,
        CUSTOMER,
        body={"quantity": 11},
        headers=WAIT,
    ),
    Step("leaderboardInOrderOfAdmission", "Who bought, with masked names", 200, CUSTOMER),
    Step("leaderboardInOrderOfAdmission", "Who bought, as the admin sees it", 200, ADMIN),
    Step("leaderboardByUnits", "Who bought most", 200, CUSTOMER),
    Step("salesAudit", "The proof that the counts agree", 200),
    Step("deskShowDesk", "The desk of the sale", 200, ADMIN),
    Step("deskShowLog", "What operators did to the sale", 200, ADMIN, query={"subject": "sale:{{saleId}}"}),
    Step(
        "reservationsReserveInSale",
        "Hold a unit of the sale",
        201,
        CUSTOMER,
        body={"quantity": 1},
        headers=WAIT,
        saves={"holdId": "data.purchaseId"},
    ),
    Step("reservationsMyReservations", "My holds that run", 200, CUSTOMER),
    Step("reservationsReservationsOf", "The customer's holds, as the admin sees them", 200, ADMIN),
    Step(
        "reservationsCheckOut",
        "A total that is not the price is refused",
        409,
        CUSTOMER,
        path=HOLD,
        body={"totalAmount": 1},
    ),
    Step(
        "reservationsCheckOut",
        "Buy what the hold holds",
        200,
        CUSTOMER,
        path=HOLD,
        body={"totalAmount": 49.99},
        headers={"Idempotency-Key": "{{$guid}}"},
    ),
    Step("reservationsReserveInSale", "Hold another", 201, CUSTOMER, headers=WAIT, saves={"holdId": "data.purchaseId"}),
    Step("reservationsCancel", "Give it back", 200, CUSTOMER, path=HOLD),
    Step("reservationsReserve", "Hold a unit by its product", 201, CUSTOMER, body=HELD),
    Step("reservationsProductStatus", "The product's units: held, sold and left", 200),
    Step("reservationsCheckOutProduct", "Buy it", 200, CUSTOMER, body={**HELD, "totalAmount": 49.99}),
    Step("reservationsReserve", "Hold one more", 201, CUSTOMER, body=HELD),
    Step("reservationsCancelProduct", "Give that back", 200, CUSTOMER),
    Step("reservationsRefund", "Take the first purchase back", 200, ADMIN, body={"reason": "arrived broken"}),
    Step("leaderboardByUnits", "Who bought most, now", 200, ADMIN),
    Step("usersListAll", "Accounts, as the admin sees them", 200, ADMIN, query={"limit": "5"}),
    Step("salesPause", "Hold the sale back", 200, ADMIN),
    Step("purchasesBuy", "Nobody buys meanwhile", 409, CUSTOMER),
    Step("salesResume", "Let the sale go on", 200, ADMIN),
    Step("salesWake", "Ask for the line to be settled", 200, ADMIN),
    Step("salesEnd", "End the sale", 200, ADMIN),
    Step("purchasesBuy", "Nobody buys any more", 409, CUSTOMER),
    Step("salesCancel", "A sale that is over cannot be called off", 409, ADMIN),
    Step("seriesRestart", "Run it again with fresh stock", 201, ADMIN, saves={"nextSaleId": "data.id"}),
    Step("salesEnd", "End that run too", 200, ADMIN, path={"sale_id": "{{nextSaleId}}"}),
    Step(
        "seriesCreate",
        "Run it every first Friday from now on",
        201,
        ADMIN,
        body={
            "productId": "{{productId}}",
            "title": "First Friday",
            "rule": "FREQ=MONTHLY;BYDAY=1FR",
            "startsLocal": "2030-01-04T18:00:00",
            "zone": "Europe/Berlin",
            "stockPerRun": 200,
            "flashPrice": 49.99,
            "durationSeconds": 7200,
        },
        saves={"seriesId": "data.id"},
    ),
    Step("seriesShow", "The series and its next runs", 200),
    Step("seriesListAll", "All series", 200),
    Step("seriesUpdate", "More stock for each run", 200, ADMIN),
    Step("seriesListRuns", "Its runs so far", 200, ADMIN),
    Step("seriesListResets", "Its monthly resets so far", 200, ADMIN),
    Step("seriesPause", "Hold the next runs back", 200, ADMIN),
    Step("seriesResume", "Let it go on", 200, ADMIN),
    Step("seriesEnd", "End the series", 200, ADMIN),
    Step("ipRulesCreate", "Shut a range of addresses out", 201, ADMIN, body=RANGE, saves={"ruleId": "data.id"}),
    Step("ipRulesChange", "Say why", 200, ADMIN, body={"reason": "bots, seen again"}),
    Step("ipRulesShow", "The rule", 200, ADMIN),
    Step("ipRulesListAll", "All rules", 200, ADMIN),
    Step("ipRulesDelete", "Let the range in again", 200, ADMIN),
    Step("fraudListAll", "What looked odd", 200, ADMIN),
    Step("salesDelete", "Take the sale out of sight", 200, ADMIN),
    Step("productsDelete", "Archive the product", 200, ADMIN),
    Step("categoriesDelete", "A category with products stays", 409, ADMIN),
    Step(
        "accountsRefreshSession",
        "Get new tokens for the refresh token",
        200,
        body={"refreshToken": "{{refreshToken}}"},
        saves={CUSTOMER: "data.accessToken", "refreshToken": "data.refreshToken"},
    ),
    Step("accountsLogOut", "Log out", 200, CUSTOMER, body={"refreshToken": "{{refreshToken}}"}),
    Step("accountsShowMe", "The token is worth nothing now", 401, CUSTOMER),
)
