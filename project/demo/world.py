"""The world that the demo upstream tells of: stocks that move, news, weather and forecasts.

All of it is a pure function of what is asked and of the time, so two processes agree and nothing is stored. What
isn't there, or is asked for in a malformed way, is None.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

SYMBOL = re.compile(r"[A-Z][A-Z.]{0,9}")
BASE_PRICES = {"AAPL": 230.0, "GOOGL": 190.0, "MSFT": 430.0, "AMZN": 220.0, "TSLA": 320.0}
# A random walk moves with the root of the time. Waves of these lengths, each as high as a walk gets in that
# time, add up to something that looks like one, and can be computed for any instant without its past.
WALK_PERIODS_SECONDS = (1, 10, 100, 1_000, 10_000, 100_000)
WALK_STEP = 0.0002  # of the price, in one second: about 6 % in a day

TOPICS = {
    "general": ("City council", "Rail operator", "Museum", "Coast guard", "University"),
    "technology": ("Chip maker", "Cloud provider", "Robotics lab", "Browser team", "Battery start-up"),
    "business": ("Central bank", "Car maker", "Airline", "Retailer", "Shipping company"),
}
HEADLINE_VERBS = ("announces", "delays", "reviews", "defends", "welcomes", "explains", "changes")
HEADLINE_OBJECTS = ("its spring plans", "a new site", "higher prices", "a joint venture", "a recall")
ARTICLES = 8


@dataclass(frozen=True, kw_only=True)
class Climate:
    """Temperatures in °C: the year's mean, and how far the warmest days are above it (below, in the south)."""

    mean: float
    swing: float
    utc_offset: int


CITIES = {
    "北京": Climate(mean=13, swing=15, utc_offset=8),
    "上海": Climate(mean=17, swing=12, utc_offset=8),
    "深圳": Climate(mean=23, swing=7, utc_offset=8),
    "广州": Climate(mean=22, swing=8, utc_offset=8),
    "杭州": Climate(mean=17, swing=12, utc_offset=8),
    "成都": Climate(mean=16, swing=10, utc_offset=8),
    "Tokyo": Climate(mean=16, swing=11, utc_offset=9),
    "Singapore": Climate(mean=27, swing=1, utc_offset=8),
    "Sydney": Climate(mean=18, swing=-5, utc_offset=10),
    "Berlin": Climate(mean=10, swing=10, utc_offset=1),
    "London": Climate(mean=11, swing=7, utc_offset=0),
    "New York": Climate(mean=13, swing=12, utc_offset=-5),
}
SKIES = ("sunny", "sunny", "partly cloudy", "cloudy", "cloudy", "fog", "light rain", "rain")
WARMEST_DAY = 201  # of the year, in the north
WARMEST_HOUR = 15
DAY_SWING = 4  # °C, up in the afternoon and down before dawn
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

# How long an answer stays the same, by the first part of its path.
CHANGES_EVERY = {
    "": timedelta(hours=1),
    "stocks": timedelta(seconds=1),
    "news": timedelta(minutes=5),
    "weather": timedelta(minutes=10),
    "forecast": timedelta(hours=1),
}


def unchanged_for(kind: str, now: datetime) -> timedelta:
    """How long from now on an answer of this kind, a key of `CHANGES_EVERY`, stays the same."""
    period = CHANGES_EVERY[kind]
    return _begin_of(period, now) + period - now


def _begin_of(period: timedelta, now: datetime) -> datetime:
    seconds = int(period.total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC)


def price(symbol: str, at: datetime) -> float:
    base = BASE_PRICES.get(symbol) or 5 * 100 ** _chance("base", symbol)  # 5 to 500, most of them low
    drift = sum(
        WALK_STEP * math.sqrt(period) * _drift(symbol, int(at.timestamp()), period)
        for period in WALK_PERIODS_SECONDS
    )
    return round(base * math.exp(drift), 2)


def quote(symbol: str, now: datetime) -> dict[str, Any] | None:
    """The price in this second, and its change since midnight UTC."""
    if not SYMBOL.fullmatch(symbol):
        return None
    at = _begin_of(CHANGES_EVERY["stocks"], now)
    current = price(symbol, at)
    change = round(current - price(symbol, at.replace(hour=0, minute=0, second=0)), 2)
    return {"symbol": symbol, "price": current, "change": change, "currency": "USD", "time": at.isoformat()}


def news(topic: str, now: datetime) -> dict[str, Any] | None:
    """The latest articles: every five minutes one is added and the oldest falls off."""
    if topic not in TOPICS:
        return None
    period = CHANGES_EVERY["news"]
    latest = _begin_of(period, now)
    return {"topic": topic, "articles": [_article(topic, latest - age * period) for age in range(ARTICLES)]}


def _article(topic: str, published_at: datetime) -> dict[str, str]:
    stamp = f"{published_at:%Y%m%d-%H%M}"
    words = (
        choices[int(_chance(topic, stamp, place) * len(choices))]
        for place, choices in enumerate((TOPICS[topic], HEADLINE_VERBS, HEADLINE_OBJECTS))
    )
    return {
        "title": " ".join(words),
        "url": f"https://news.example/{topic}/{stamp}",
        "published_at": published_at.isoformat(),
    }


def weather(city: str, now: datetime) -> dict[str, Any] | None:
    if city not in CITIES:
        return None
    at = _begin_of(CHANGES_EVERY["weather"], now)
    local = at + timedelta(hours=CITIES[city].utc_offset)
    hour = local.hour + local.minute / 60
    temperature = _mean_temperature(city, local.date()) + DAY_SWING * math.cos(
        2 * math.pi * (hour - WARMEST_HOUR) / 24
    )
    return {
        "city": city,
        "temperature": round(temperature, 1),
        "humidity": round(62 + 30 * _drift(f"humidity {city}", at.timestamp(), 3 * 3600)),
        "condition": _condition(temperature, city, local.date(), local.hour // 3),
        "observed_at": at.isoformat(),
    }


def forecast(key: str, now: datetime) -> dict[str, Any] | None:
    """The forecast for ``city:YYYY-MM-DD``, any day of the calendar; each hour brings a slightly other opinion."""
    city, _, day_text = key.rpartition(":")
    if city not in CITIES or not ISO_DATE.fullmatch(day_text):
        return None
    try:
        day = date.fromisoformat(day_text)
    except ValueError:
        return None
    opinion = _drift(f"opinion {city} {day}", now.timestamp() // 3600, 1)
    mean = _mean_temperature(city, day) + opinion
    return {
        "city": city,
        "date": day_text,
        "low": round(mean - DAY_SWING),
        "high": round(mean + DAY_SWING),
        "condition": _condition(mean, city, day, WARMEST_HOUR // 3),
    }


def _mean_temperature(city: str, day: date) -> float:
    climate = CITIES[city]
    season = math.cos(2 * math.pi * (day.timetuple().tm_yday - WARMEST_DAY) / 365)
    return climate.mean + climate.swing * season + 3 * _drift(f"temperature {city}", day.toordinal(), 1)


def _condition(temperature: float, *when_and_where: object) -> str:
    sky = SKIES[int(_chance("sky", *when_and_where) * len(SKIES))]
    return sky.replace("light rain", "snow").replace("rain", "snow") if temperature < 0 else sky


# Chance without memory


def _chance(*parts: object) -> float:
    """A number in [0, 1) that is always the same for the same parts, in every process."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _drift(name: str, at: float, period: float) -> float:
    """A value in [-1, 1] that wanders: chance at every multiple of `period` seconds, straight lines between."""
    step, within = divmod(at / period, 1)
    before, after = (2 * _chance(name, period, int(step) + ahead) - 1 for ahead in (0, 1))
    return before + (after - before) * within
