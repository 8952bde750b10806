"""Redis is away for a while, stopped or frozen: jobs fire all the same, and edits are still followed, by polling."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from django.utils import timezone

from hotdata.models import ChangeCounter, Job, Run
from hotdata.models.runs import Cause, State
from tests.builders import make_job, make_run
from tests.faults.sites import SECOND, site
from tests.scheduling.processes import LEADING, SchedulerProcess
from tests.threads import eventually
from tools.redis_server import RedisServer

AWAY = 3.0  # seconds
POLL = 3  # seconds
# Much less than polling takes, and much more than the bell does: the machine may be busy.
AT_ONCE = 0.4  # seconds
HELD_UP = SECOND

# What goes away is Redis: which database stays has no say.
pytestmark = [pytest.mark.only_on("sqlite"), pytest.mark.django_db(transaction=True)]


@pytest.fixture
def environment(child_environment: dict[str, str], moody_redis: RedisServer) -> dict[str, str]:
    return {**child_environment, "REDIS_URL": moody_redis.url}


def take_away(server: RedisServer, how: str) -> None:
    if how == "stopped":
        server.stop()
    else:
        server.freeze()


def give_back(server: RedisServer, how: str) -> None:
    if how == "stopped":
        server.start()
    else:
        server.thaw()


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_jobs_fire_on_time_while_redis_is_away(
    environment: dict[str, str], moody_redis: RedisServer, tmp_path: Path, how: str
) -> None:
    with site(environment, tmp_path) as working:
        gone_at = timezone.now()
        take_away(moody_redis, how)
        working.lasts(AWAY)
        give_back(moody_redis, how)
        working.is_back_at_work(since=timezone.now())
        working.ends_well()
    fired = Run.objects.filter(cause=Cause.SCHEDULE, state=State.SUCCEEDED, scheduled_for__gte=gone_at)
    late = [run for run in fired if run.coalesced or run.delay is None or run.delay > SECOND]
    assert not late


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_edits_are_followed_while_redis_is_away_and_at_once_when_it_is_back(
    environment: dict[str, str], moody_redis: RedisServer, how: str
) -> None:
    job = make_job(task="echo", cron="0 0 1 1 *")
    with SchedulerProcess(environment, poll_interval=POLL, lease_ttl=3 * POLL) as scheduler:
        scheduler.wait_for(LEADING)
        eventually(lambda: is_followed_at_once(job, scheduler))
        take_away(moody_redis, how)
        assert seconds_until_followed(job, scheduler) < POLL + 1
        give_back(moody_redis, how)
        eventually(lambda: is_followed_at_once(job, scheduler))
        scheduler.send(signal.SIGTERM)
        assert scheduler.wait() == 0, scheduler.output


def is_followed_at_once(job: Job, scheduler: SchedulerProcess) -> bool:
    """Thrice in a row: by polling alone, that would be luck of one in hundreds."""
    return all(seconds_until_followed(job, scheduler) < AT_ONCE for _ in range(3))


def seconds_until_followed(job: Job, scheduler: SchedulerProcess) -> float:
    """How long it takes from asking for a run to its start; whoever asks must not be held up."""
    asked_at = timezone.now()
    run = make_run(job, node="")
    ChangeCounter.bump()
    assert timezone.now() - asked_at < HELD_UP
    scheduler.wait_until(Run.objects.filter(pk=run.pk, started_at__isnull=False).exists)
    run.refresh_from_db()
    assert run.started_at is not None
    return (run.started_at - asked_at).total_seconds()
