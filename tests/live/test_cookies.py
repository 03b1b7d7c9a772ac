"""The WebSocket and the cookies of the pages: a browser sends them along from any site, so they count for nothing."""

import websocket

from tests.live.conftest import Client
from web.cookies import ACCESS


def test_a_cookie_opens_no_socket_so_another_site_cannot_listen_in(live, make_user, make_sale, token_of):
    sale, user = make_sale(), make_user()
    headers = [f"Cookie: {ACCESS}={token_of(user.id)}", "Origin: https://evil.test"]
    client = Client(websocket.create_connection(f"ws://127.0.0.1:{live.port}/", timeout=10, header=headers))

    client.send("joinFlashSale", flashSaleId=str(sale.id))

    event, data = client.hear()
    client.close()
    assert (event, data["code"]) == ("error", "UNAUTHORIZED")
