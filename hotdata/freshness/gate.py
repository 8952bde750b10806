"""The gate of a source: whether its upstream may be asked now, decided for all processes together, in Redis.

A call enters before it begins, which gives a passage, and leaves when it has ended. Each is one Lua script and one
round trip. What the gate sees to:

Budget. No window of 60 s has more calls than the budget. Counted are the calls of 61 s, since they don't arrive as
evenly as they enter. Besides, they come at the minute's pace (GCRA), with no more than `burst` at once after a
quiet time.

Concurrency. A place is taken until the passage is left. One that never is, since its process died, ends with its
hold: the time that the caller said the call could last at most.

Cooldown. Who leaves may close the gate for a while, as the upstream asked. Of two, the one that ends later counts.

Breaker. So many failures in a row open it for a pause. Then it is half-open: one call goes through at a time, the
probe. If it succeeds the breaker is closed; if it fails there is another pause, of twice the length up to a cap.
While the breaker is open only the probe has a say, and after a turn, open or closed, no call that entered before:
what was under way when the upstream went down doesn't lengthen the pause. So a dead upstream gets no more than
(failures - 1 + concurrency) calls, and then the probes.

Time is that of Redis, so the clocks of nodes don't matter. The limits come with each call, so those of an operator's
edit hold from the next on. The gate's keys expire: a source that is not used any more leaves nothing behind.

Redis may lose all that, by a flush or a restart. A gate that it doesn't know answers "unknown" to who wants to enter,
and is told what the records know of the last minute: its calls, a cooldown, an outage. Of all who tell it the first
counts. Calls that went before and are not on record yet count as many as there can be, until they must be; then the
gate answers "unknown" once more, and what it is told now is all. If the records can't be asked, it stays closed.
Only these times come from the clocks of nodes, so as long as these agree within a second there are no more calls than
the budget; there may be less, since calls of the second after the first answer count twice for a minute.

Without Redis nobody calls. Nothing could count the calls, and there would be nowhere to store the answers.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import sleep
from typing import Any, Literal

from hotdata.exceptions import CacheUnavailable, GateClosed
from hotdata.freshness import meters, redis

MINUTE = timedelta(minutes=1)
WINDOW = MINUTE + timedelta(seconds=1)
MAX_PAUSE = timedelta(minutes=2)
MEMORY = timedelta(days=1)
"""After so long without a call, and without being closed, the gate has forgotten the source."""

# Naps of one who waits, in seconds. Short, since a breaker that opens meanwhile ends the waiting; but a pace of
# a thousand calls a second must not be followed by asking Redis a thousand times.
SHORTEST_NAP = 0.01
LONGEST_NAP = 0.5
FIRST_NAP_FOR_A_PLACE = 0.02
NAP_JITTER = 0.2

MICROSECOND = timedelta(microseconds=1)
UNKNOWN = -1
SKEW = timedelta(seconds=1)
"""By which a call may seem to be later than it was, when its time comes from another clock and by way of a query."""

# KEYS[1] the gate: a hash. KEYS[2] the passages under way, by the end of their hold. KEYS[3] the calls of the window,
# by their time. ARGV[1] what else there is to know, as JSON. All times are in microseconds: whole numbers, which
# Lua's floats hold exactly and Redis takes from Lua without loss; only Lua's own way to text would round them.
PRELUDE = """
local gate, under_way, calls = KEYS[1], KEYS[2], KEYS[3]
local ask = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + ask.offset

local function number(field)
  return tonumber(redis.call('HGET', gate, field) or 0)
end

local function after(start)
  return string.format('(%.0f', start)
end

local function keep(key, duration)
  redis.call('PEXPIRE', key, math.max(math.ceil(duration / 1000), redis.call('PTTL', key)))
end

-- How long the pause still lasts, and how long a probe may be under way.
local function breaker()
  local opened = number('opened')
  if opened == 0 then return 0, 0 end
  local pause = math.min(ask.pause * 2 ^ number('failed_probes'), ask.longest_pause)
  local probe = tonumber(redis.call('ZSCORE', under_way, number('probe')) or 0)
  return math.max(0, opened + pause - now), math.max(0, probe - now)
end
"""

# The number of a passage is its time, or the next that is free. Calls that are told of have names instead, so that
# those that are told of later can take their place. What is told must answer the very question that was put: who was
# held up on the way to the records may have asked them for another.
ENTER = redis.Script(f"""{PRELUDE}
local pace = math.ceil(ask.minute / ask.calls_per_minute)

local question, settles = nil, number('settles')
if redis.call('HEXISTS', gate, 'last') == 0 then
  question = 0
elseif settles > 0 and settles <= now then
  question = settles
end
if question and not (ask.recent and ask.recent.question == question) then return {{-1, question}} end

local function count_what_was_told(until_then)
  for _, call in ipairs(redis.call('ZRANGE', calls, 0, -1)) do
    if not tonumber(call) then redis.call('ZREM', calls, call) end
  end
  local on_time = number('on_time')
  for place, age in ipairs(ask.recent.calls) do
    local at = now - age
    if at <= until_then then
      redis.call('ZADD', calls, at, 'recorded ' .. place)
      on_time = math.max(on_time, at) + pace
    end
  end
  return on_time
end

local function begin()
  local recent = ask.recent
  redis.call('HSET', gate, 'last', now, 'on_time', count_what_was_told(now))
  redis.call('HSET', gate, 'failures', math.max(number('failures'), recent.failures))
  if recent.opened and number('opened') == 0 then redis.call('HSET', gate, 'opened', now - recent.opened) end
  if recent.unrecorded > 0 then
    redis.call('HSET', gate, 'began', now, 'settles', now + recent.settling)
    for place = 1, recent.unrecorded do
      redis.call('ZADD', calls, now + recent.settling - ask.window, 'unrecorded ' .. place)
    end
  end
end

if question then
  if question == 0 then begin() else
    count_what_was_told(number('began') + ask.skew)
    redis.call('HDEL', gate, 'began', 'settles')
  end
  if ask.recent.cooldown > 0 then
    redis.call('HSET', gate, 'cooldown', math.max(number('cooldown'), now + ask.recent.cooldown))
  end
  keep(calls, ask.window)
  keep(gate, ask.memory + ask.recent.cooldown)
end

redis.call('ZREMRANGEBYSCORE', under_way, '-inf', now)
redis.call('ZREMRANGEBYSCORE', calls, '-inf', now - ask.window)
local latest = now + ask.burst * pace

-- If Redis's clock was set back, what is ahead of it now would close the gate until it has caught up; so would
-- a slower pace than today's.
for _, call in ipairs(redis.call('ZRANGEBYSCORE', calls, after(now), '+inf')) do
  redis.call('ZADD', calls, now, call)
end
if number('opened') > now then redis.call('HSET', gate, 'opened', now) end
if number('on_time') > latest then redis.call('HSET', gate, 'on_time', latest) end

local reason, left = nil, 0
local function refuse(why, duration)
  if duration > left then reason, left = why, duration end
end

-- The score of the member that has to go before there are less than `most`; 0 if there are.
local function next_to_go(key, most)
  local surplus = redis.call('ZCARD', key) - most
  if surplus < 0 then return 0 end
  return tonumber(redis.call('ZRANGE', key, surplus, surplus, 'WITHSCORES')[2])
end

-- When the next call would be on time at the mere pace; a burst may be that much earlier.
local on_time = math.max(number('on_time'), now)

refuse('cooldown', number('cooldown') - now)
refuse('breaker', math.max(breaker()))
if not reason then
  refuse('budget', on_time - now - (ask.burst - 1) * pace)
  refuse('budget', next_to_go(calls, ask.calls_per_minute) + ask.window - now)
  refuse('concurrency', next_to_go(under_way, ask.concurrency) - now)
end
if reason then return {{0, reason, math.ceil(left)}} end

local passage = math.max(now, number('last') + 1)
redis.call('ZADD', calls, now, passage)
redis.call('ZADD', under_way, now + ask.hold, passage)
redis.call('HSET', gate, 'last', passage, 'on_time', on_time + pace)
if number('opened') > 0 then redis.call('HSET', gate, 'probe', passage) end
keep(calls, ask.window)
keep(under_way, ask.hold)
keep(gate, ask.memory)
return {{1, passage, number('turns')}}
""")

LEAVE = redis.Script(f"""{PRELUDE}
redis.call('ZREM', under_way, ask.passage)
if ask.cooldown > 0 then
  redis.call('HSET', gate, 'cooldown', math.max(number('cooldown'), now + ask.cooldown))
end

local open = number('opened') > 0
local is_probe = open and number('probe') == ask.passage
local has_a_say = ask.made and (is_probe or (not open and number('turns') == ask.turns))
if has_a_say and ask.failed then
  local failures = redis.call('HINCRBY', gate, 'failures', 1)
  if is_probe then
    redis.call('HSET', gate, 'opened', now)
    redis.call('HINCRBY', gate, 'failed_probes', 1)
  elseif failures >= ask.failures then
    redis.call('HSET', gate, 'opened', now)
    redis.call('HINCRBY', gate, 'turns', 1)
  end
elseif has_a_say then
  redis.call('HDEL', gate, 'failures', 'opened', 'failed_probes', 'probe')
  if is_probe then redis.call('HINCRBY', gate, 'turns', 1) end
end
keep(gate, ask.memory + ask.cooldown)
""")

LOOK = redis.Script(f"""{PRELUDE}
local breaker_left = breaker()
local state = 'closed'
if number('opened') > 0 then state = breaker_left > 0 and 'open' or 'half-open' end
return {{
  redis.call('ZCOUNT', calls, after(now - ask.minute), '+inf'),
  redis.call('ZCOUNT', under_way, after(now), '+inf'),
  math.max(0, number('cooldown') - now),
  state,
  math.ceil(breaker_left),
  number('failures'),
}}
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a source's upstream may be asked. All numbers are at least 1, and the pause is longer than nothing."""

    calls_per_minute: int
    burst: int
    """Calls at once, after a quiet time."""
    concurrency: int
    failures: int
    """Failed calls in a row that open the breaker."""
    pause: timedelta
    """How long the breaker is open at first; doubled by each failed probe, up to two minutes if it isn't longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recent:
    """What is known of a source's calls of late without Redis. By default, that there were none."""

    calls: Sequence[timedelta] = ()
    """How long ago each of the last `WINDOW` began."""
    cooldown: timedelta = timedelta(0)
    """How long the upstream is to be left alone from now on."""
    failures: int = 0
    """Outages in a row, until now."""
    failed: timedelta = timedelta(0)
    """How long ago the last of these ended."""
    unrecorded: int = 0
    """How many other calls there can have been, at most."""
    settling: timedelta = timedelta(0)
    """How long it takes from now until they are known as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateState:
    """How a gate stands."""

    calls: int
    """Of the last minute."""
    budget: int
    """Calls that a minute may have."""
    under_way: int
    cooldown: timedelta
    """How long it still lasts."""
    breaker: Literal["closed", "open", "half-open"]
    pause: timedelta
    """How long the breaker still lets nobody through."""
    failures: int
    """In a row, until now."""


class Gate:
    """The gate of `source`. Holds nothing but `limits`, so any number of them are one gate. Thread-safe.

    `recent` is called when Redis doesn't know the gate. It may raise GateClosed, when it can't tell.
    `clock_offset` is added to the time of Redis, for tests of what takes long.
    """

    def __init__(
        self,
        source: str,
        limits: Limits,
        *,
        recent: Callable[[], Recent] = Recent,
        clock_offset: Callable[[], timedelta] = timedelta,
    ) -> None:
        self.source = source
        self.limits = limits
        self._recent = recent
        self._clock_offset = clock_offset

    def enter(self, *, hold: timedelta) -> Passage:
        """Take a passage for one call, which must be left when the call has ended.

        The call can't last longer than `hold`: after that the passage counts as left, but for its outcome.
        Raises GateClosed, or CacheUnavailable; then there must be no call.
        """
        went, *answer = self._ask_to_enter(hold)
        while went == UNKNOWN:
            (question,) = answer
            went, *answer = self._ask_to_enter(hold, recent=self._told(question))
        if went:
            number, turns = answer
            return Passage(self, number=number, turns=turns)
        reason, left = answer
        raise GateClosed(source=self.source, reason=reason.decode(), retry_after=timedelta(microseconds=left))

    def wait(self, *, hold: timedelta, patience: Callable[[], float]) -> Passage:
        """As `enter`, but a closed gate is waited for, in naps, while `patience` gives seconds that are left.

        Raises GateClosed at once when that is not a matter of calls that went before (cooldown, breaker, unknown), or
        when the budget has room only after the patience has ended; and whatever `patience` raises.
        """
        naps: list[float] = []
        try:
            return self._nap_until_open(naps, hold, patience)
        finally:
            if naps:
                meters.note_wait(self.source, sum(naps))

    def _nap_until_open(self, naps: list[float], hold: timedelta, patience: Callable[[], float]) -> Passage:
        """`wait`, putting down each nap in `naps`."""
        nap_for_a_place = FIRST_NAP_FOR_A_PLACE
        while True:
            try:
                return self.enter(hold=hold)
            except GateClosed as closed:
                left, needed = patience(), 0.0
                if closed.reason == "budget":
                    needed = closed.retry_after.total_seconds()
                    nap = min(max(SHORTEST_NAP, needed), LONGEST_NAP)
                elif closed.reason == "concurrency":
                    # A place may come free at any time.
                    nap, nap_for_a_place = nap_for_a_place, min(2 * nap_for_a_place, LONGEST_NAP)
                else:
                    raise
                if left <= needed:
                    raise
            # Upwards only: before the time that the gate told, asking is in vain.
            jitter = random.uniform(1, 1 + NAP_JITTER)  # noqa: S311 - spreads load, guards nothing
            naps.append(min(left, nap * jitter))
            sleep(naps[-1])

    def look(self) -> GateState:
        """How the gate stands now. Changes nothing; raises CacheUnavailable."""
        return self._state(self._run(LOOK))

    def _state(self, answer: Sequence[Any]) -> GateState:
        calls, under_way, cooldown, breaker, pause, failures = answer
        return GateState(
            calls=calls,
            budget=self.limits.calls_per_minute,
            under_way=under_way,
            cooldown=timedelta(microseconds=cooldown),
            breaker=breaker.decode(),
            pause=timedelta(microseconds=pause),
            failures=failures,
        )

    def _ask_to_enter(self, hold: timedelta, **told: Any) -> Any:
        return self._run(
            ENTER,
            hold=hold // MICROSECOND,
            calls_per_minute=self.limits.calls_per_minute,
            burst=self.limits.burst,
            concurrency=self.limits.concurrency,
            **told,
        )

    def _told(self, question: int) -> dict[str, Any]:
        """What the gate is told when it has asked: `question` is 0 at first."""
        recent = self._recent()
        ages = sorted((max(age, timedelta(0)) for age in recent.calls), reverse=True)
        told: dict[str, Any] = {
            "question": question,
            # Older ones than the budget's worth say nothing: without them the window is full as well.
            "calls": [age // MICROSECOND for age in ages[-self.limits.calls_per_minute :]],
            "cooldown": recent.cooldown // MICROSECOND,
            "failures": recent.failures,
            "unrecorded": min(recent.unrecorded, self.limits.calls_per_minute),
            "settling": min(recent.settling, WINDOW) // MICROSECOND,
        }
        if recent.failures >= self.limits.failures:
            told["opened"] = recent.failed // MICROSECOND
        return told

    def _leave(self, passage: Passage, *, failed: bool | None, cooldown: timedelta) -> None:
        self._run(
            LEAVE,
            passage=passage.number,
            turns=passage.turns,
            made=failed is not None,
            failed=bool(failed),
            cooldown=cooldown // MICROSECOND,
            failures=self.limits.failures,
        )

    def _run(self, script: redis.Script, **facts: Any) -> Any:
        """The answer of `script`, which gets `facts` and what all of them need. Raises CacheUnavailable."""
        names, asked = self._question(**facts)
        with redis.guarded():
            return script.run(names, asked)

    def _question(self, **facts: int) -> tuple[list[str], str]:
        longest_pause = max(self.limits.pause, MAX_PAUSE)
        facts |= {
            "offset": self._clock_offset() // MICROSECOND,
            "minute": MINUTE // MICROSECOND,
            "window": WINDOW // MICROSECOND,
            "skew": SKEW // MICROSECOND,
            "pause": self.limits.pause // MICROSECOND,
            "longest_pause": longest_pause // MICROSECOND,
            "memory": (MEMORY + longest_pause) // MICROSECOND,
        }
        return [redis.name(kind, self.source) for kind in ("g", "gc", "gw")], json.dumps(facts)


def look_each(gates: Sequence[Gate]) -> list[GateState]:
    """How each of `gates` stands now, in one round trip. Changes nothing; raises CacheUnavailable."""
    if not gates:
        return []
    questions = [gate._question() for gate in gates]
    with redis.guarded():
        answers = LOOK.run_each((names, [asked]) for names, asked in questions)
    return [gate._state(answer) for gate, answer in zip(gates, answers, strict=True)]


class Passage:
    """One call's way through a gate."""

    def __init__(self, gate: Gate, *, number: int, turns: int) -> None:
        self.number = number
        """No other passage of the source has it. It is when this one was taken, in microseconds of Redis's time."""
        self.turns = turns
        """How often the breaker had turned by then, open or closed."""
        self._gate = gate
        self._left = False

    def leave(self, *, failed: bool | None, cooldown: timedelta | None = None) -> None:
        """The call has ended; nobody shall call for `cooldown` from now on. Only the first time counts.

        None for `failed` means that the call wasn't made after all: that says nothing about the upstream.

        Raises nothing when Redis is away: then the passage ends with its hold, and its outcome is not known.
        """
        if self._left:
            return
        self._left = True
        with contextlib.suppress(CacheUnavailable):
            self._gate._leave(self, failed=failed, cooldown=cooldown or timedelta())
