"""Three nodes, a burst each second, and every three seconds one of the nodes is killed, stopped or sent away.

Which node, and what happens to it, is drawn from a seed that is shown when the test fails. Half of it happens to
the leader.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from hotdata.models import Job, Lease, Run
from hotdata.models.policies import Overlap
from hotdata.models.runs import State
from hotdata.models.schedules import Kind
from tests.builders import make_job
from tests.faults import accounts
from tests.scheduling.processes import STARTED, SchedulerProcess
from tests.threads import eventually

SEED = 20_261_123
NODES = 3
JOBS = 20
TROUBLE_LASTS = 30.0  # seconds
TROUBLE_EACH = 3.0  # seconds
SECOND = timedelta(seconds=1)
WORK = 0.8  # seconds, of every other job: whoever is killed was in the middle of something

NODE_TIMEOUT = 3.0  # seconds; a stopped node sleeps for about as long, and may or may not be given up
CALM_WITHIN = 60.0  # seconds after the last trouble, in which all runs have come to an end

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


class Cluster:
    """Some nodes, and what can happen to them. A node that is gone is replaced at once."""

    def __init__(self, environment: Mapping[str, str], stack: ExitStack, *, nodes: int) -> None:
        self._environment = environment
        self._stack = stack
        self._nodes = [self._start() for _ in range(nodes)]
        self._leaving: list[SchedulerProcess] = []
        self._asleep: list[tuple[float, SchedulerProcess]] = []  # until when, on the monotonic clock

    def _start(self) -> SchedulerProcess:
        return self._stack.enter_context(SchedulerProcess(self._environment, node_timeout=NODE_TIMEOUT))

    def _replace(self, node: SchedulerProcess) -> None:
        self._nodes[self._nodes.index(node)] = self._start()

    @property
    def up(self) -> list[SchedulerProcess]:
        """Nodes that are awake and at work."""
        asleep = [node for _, node in self._asleep]
        return [node for node in self._nodes if node.says(STARTED) and node not in asleep]

    def leader(self) -> SchedulerProcess | None:
        """Whoever holds the lease; None while that is nobody who is awake."""
        holder = Lease.objects.values_list("holder", flat=True).get()
        return next((node for node in self.up if f":{node.pid}:" in holder), None)

    def kill(self, node: SchedulerProcess) -> None:
        node.kill()
        self._replace(node)

    def stop(self, node: SchedulerProcess, seconds: float) -> None:
        """Stop it in the middle of whatever it does; `look_after` lets it go on."""
        node.send(signal.SIGSTOP)
        self._asleep.append((time.monotonic() + seconds, node))

    def terminate(self, node: SchedulerProcess) -> None:
        node.send(signal.SIGTERM)
        self._replace(node)
        self._leaving.append(node)

    def look_after(self) -> None:
        """Wake those whose sleep is over."""
        for waking, node in list(self._asleep):
            if time.monotonic() >= waking:
                node.send(signal.SIGCONT)
                self._asleep.remove((waking, node))

    def calm_down(self) -> None:
        """Wake all, and wait until as many as there should be are at work."""
        for _, node in self._asleep:
            node.send(signal.SIGCONT)
        self._asleep.clear()
        for node in self._nodes:
            node.wait_for(STARTED)

    def end(self) -> None:
        """Tell all to stop; each one that was ever told to has ended in order."""
        for node in self._nodes:
            node.send(signal.SIGTERM)
        for node in [*self._leaving, *self._nodes]:
            assert node.wait() == 0, node.output


@contextmanager
def cluster_of(environment: Mapping[str, str], nodes: int) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(environment, stack, nodes=nodes)


def make_secondly(judge: Path, number: int) -> Job:
    """One of the jobs, of which each is a little different."""
    return make_job(
        name=f"secondly-{number}",
        task="sign_and_work",
        params={"path": str(judge), "seconds": WORK if number % 2 else 0},
        trigger=Kind.INTERVAL,
        interval=SECOND,
        cron="",
        overlap=Overlap.ALLOW_ALL,
        max_instances=100,
        coalesce=number % 3 != 0,
        recover=number % 4 < 2,
    )


def make_trouble(cluster: Cluster, dice: random.Random) -> list[str]:
    """Let something happen to one node after the other; gives what happened, in order."""
    print(f"seed {SEED}:")
    happened = []
    began = time.monotonic()
    while time.monotonic() < began + TROUBLE_LASTS:
        next_trouble = time.monotonic() + TROUBLE_EACH
        trouble, met = (
            dice.choice(["killed", "stopped", "terminated"]),
            dice.choice(eventually(lambda: cluster.up)),
        )
        node = (dice.random() < 0.5 and cluster.leader()) or met
        if trouble == "killed":
            cluster.kill(node)
        elif trouble == "stopped":
            cluster.stop(node, dice.uniform(1, 2 * NODE_TIMEOUT))
        else:
            cluster.terminate(node)
        happened.append(trouble)
        print(f"{time.monotonic() - began:4.1f} s: node {node.pid} {trouble}")
        while time.monotonic() < next_trouble:
            cluster.look_after()
            time.sleep(0.05)
    return happened


def pause_all(jobs: list[Job]) -> dict[str, datetime]:
    """Pause each job; gives up to when, at least, its due times must have an account."""
    for job in jobs:
        assert job.set_paused(True)
    return dict(Job.objects.values_list("name", "updated_at"))


def test_each_due_time_has_one_account_whatever_happens_to_the_nodes(
    child_environment: dict[str, str], tmp_path: Path
) -> None:
    judge, dice = tmp_path / "attempts-begun", random.Random(SEED)
    with cluster_of(child_environment, NODES) as cluster:
        cluster.calm_down()
        jobs = [make_secondly(judge, number) for number in range(JOBS)]
        happened = make_trouble(cluster, dice)
        cluster.calm_down()
        paused_at = pause_all(jobs)
        eventually(lambda: not accounts.unsettled(), within=CALM_WITHIN)
        cluster.end()
    assert set(happened) == {"killed", "stopped", "terminated"}
    for job in jobs:
        last = Run.objects.of_job(job.name).order_by("-scheduled_for").exclude(scheduled_for=None).first()
        assert last is not None
        until = max(last.scheduled_for, paused_at[job.name])
        due = accounts.due_times(job, since=job.created_at + SECOND, until=until)
        assert len(due) >= TROUBLE_LASTS
        accounts.assert_each_due_time_has_one_account(job.name, due)
        if job.recover:
            accounts.assert_each_abandoned_run_was_recovered_once(job.name)
    assert Run.objects.filter(state=State.ABANDONED).exists(), "nothing was lost: the trouble was too small"
    accounts.assert_all_came_to_an_end()
    accounts.assert_what_succeeded_took_effect_once(judge, Run.objects.all())
