"""Redis came back from an older copy: beat and chores tell it again who was blocked, without anybody's help."""

from models import accounts, rediskeys
from models.redisclient import redis_client
from models.revocations import is_revoked
from tests.pipeline.conftest import eventually


def test_a_redis_that_forgot_who_was_blocked_is_told_by_beat_and_chores(processes, make_user):
    admin, ann = make_user(role="admin"), make_user()
    accounts.block(ann.id, admin.id)
    processes.start("chores")
    processes.start("beat")
    processes.wait_ready("chores")
    eventually(lambda: redis_client().exists(rediskeys.GENERATIONS_TOLD), "it was told once")

    redis_client().delete(rediskeys.generation(ann.id), rediskeys.GENERATIONS_TOLD)

    eventually(lambda: is_revoked("any", ann.id, 0), "it is told again")
