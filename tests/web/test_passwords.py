import subprocess
import sys

import pytest

from models import passwords
from models.errors import UnavailableError

ON_GEVENT = """
from gevent import monkey
monkey.patch_all()
import threading
from models import passwords
loop = threading.get_native_id()
where = []
passwords._verify = lambda kept, password: where.append(threading.get_native_id()) or True
assert passwords.is_right_password(passwords.hash_password("customer123"), "customer123")
assert where and where[0] != loop, "argon2 ran on the loop's own thread"
"""


def test_on_gevent_a_password_is_checked_beside_the_loop_and_stalls_nobody():
    done = subprocess.run([sys.executable, "-c", ON_GEVENT], capture_output=True, text=True, timeout=240, check=False)

    assert done.returncode == 0, done.stderr


def test_only_so_many_passwords_are_checked_at_once_and_the_next_waits_only_so_long(monkeypatch):
    monkeypatch.setattr(passwords, "WAIT_SECONDS_MAX", 0.01)
    for _ in range(passwords.HASHING_AT_ONCE_MAX):
        passwords._places.acquire()
    try:
        with pytest.raises(UnavailableError, match="BUSY"):
            passwords.hash_password("customer123")
    finally:
        for _ in range(passwords.HASHING_AT_ONCE_MAX):
            passwords._places.release()

    assert passwords.is_right_password(passwords.hash_password("customer123"), "customer123")


@pytest.mark.parametrize("kept", ["", "plain", "$argon2id$broken", "$2b$12$abcdefghijklmnopqrstuv"])
def test_a_hash_that_is_none_lets_nobody_in(kept):
    assert not passwords.is_right_password(kept, "plain")
