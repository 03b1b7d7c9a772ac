from argon2 import PasswordHasher
from sqlalchemy import func, select

from models import passwords
from models.clock import now
from models.database import transaction
from models.user import User

PASSWORD = "customer123"
SIGN_UP = {"name": "Ann", "email": "Ann@Shop.test", "password": "customer123"}


def _log_in(client, email="ann@shop.test", password=PASSWORD):
    return client.post("/api/auth/login", json={"email": email, "password": password})


def _user(user_id):
    with transaction() as session:
        return session.get_one(User, user_id)


def _change(user_id, **fields):
    with transaction() as session:
        user = session.get_one(User, user_id)
        for name, value in fields.items():
            setattr(user, name, value)


def test_who_signs_up_is_a_customer_and_is_logged_in(client):
    answer = client.post("/api/auth/signup", json=SIGN_UP)

    assert answer.status_code == 201
    data = answer.json["data"]
    assert data["user"] == {**data["user"], "name": "Ann", "email": "ann@shop.test", "role": "customer"}
    assert data["expiresIn"] == 15 * 60
    me = client.get("/api/users/me", headers={"Authorization": f"Bearer {data['accessToken']}"})
    assert me.json["data"] == data["user"]


def test_an_address_signs_up_once_whatever_its_case(client):
    client.post("/api/auth/signup", json=SIGN_UP)

    answer = client.post("/api/auth/signup", json={**SIGN_UP, "email": "ANN@SHOP.TEST"})

    assert (answer.status_code, answer.json["code"]) == (409, "EMAIL_TAKEN")


def test_nobody_becomes_an_admin_by_asking(client):
    answer = client.post("/api/auth/signup", json={**SIGN_UP, "role": "admin"})

    assert (answer.status_code, answer.json["code"]) == (403, "ADMIN_SIGNUP_FORBIDDEN")
    with transaction() as session:
        assert session.scalar(select(func.count(User.id))) == 0


def test_an_installation_that_allows_it_lets_admins_sign_up(client, change_settings):
    change_settings(ALLOW_ADMIN_SIGNUP="true")

    answer = client.post("/api/auth/signup", json={**SIGN_UP, "password": "admin123", "role": "admin"})

    assert answer.json["data"]["user"]["role"] == "admin"


def test_a_password_is_kept_as_argon2id_and_never_as_itself(client):
    user_id = client.post("/api/auth/signup", json=SIGN_UP).json["data"]["user"]["id"]

    assert _user(int(user_id)).password_hash.startswith("$argon2id$")


def test_a_customer_logs_in_whatever_the_case_of_the_address(client, customer):
    answer = _log_in(client, email=" ANN@shop.test ")

    assert answer.status_code == 200
    assert set(answer.json["data"]) == {"accessToken", "refreshToken", "expiresIn", "user"}
    assert answer.json["data"]["user"]["id"] == str(customer.id)


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(client, customer):
    wrong = _log_in(client, password="not that one")
    unknown = _log_in(client, email="nobody@shop.test")

    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json == unknown.json
    assert wrong.json["code"] == "BAD_CREDENTIALS"


def test_an_unknown_address_costs_as_much_work_as_a_wrong_password(customer, monkeypatch):
    verified = []
    monkeypatch.setattr(passwords, "_verify", lambda kept, password: verified.append(kept) or False)

    passwords.is_right_password(customer.password_hash, "x")
    passwords.is_right_password(None, "x")

    assert [kept[:30] for kept in verified] == ["$argon2id$v=19$m=19456,t=2,p=1"] * 2


def test_an_account_without_a_password_cannot_be_logged_in_to(client, make_user):
    make_user(email="bulk@shop.test")

    assert _log_in(client, email="bulk@shop.test", password="the password of nobody").status_code == 401


def test_a_blocked_account_cannot_log_in(client, customer):
    _change(customer.id, blocked_at=now())

    assert _log_in(client).json["code"] == "ACCOUNT_BLOCKED"
    # Who does not know the password learns nothing of it.
    assert _log_in(client, password="wrong").json["code"] == "BAD_CREDENTIALS"


def test_a_password_hashed_under_old_parameters_is_hashed_anew_at_the_next_login(client, customer):
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    _change(customer.id, password_hash=old)

    assert _log_in(client).status_code == 200

    assert "m=19456,t=2,p=1" in _user(customer.id).password_hash
    assert _log_in(client).status_code == 200


def test_only_admins_list_the_accounts(client, customer, auth, admin):
    assert client.get("/api/users", headers=auth(customer)).status_code == 403

    answer = client.get("/api/users?search=ANN%40shop&limit=1", headers=admin)

    assert [user["email"] for user in answer.json["data"]] == ["ann@shop.test"]
    assert answer.json["meta"] == {"page": 1, "limit": 1, "total": 1}


def test_a_percent_sign_in_a_search_is_a_percent_sign(client, customer, admin):
    assert client.get("/api/users?search=%25", headers=admin).json["meta"]["total"] == 0
