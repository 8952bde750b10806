"""PNG files of few colours: a picture of a page has a hundred that matter, and takes half the space with a palette.

The browser that took the picture takes it apart; it has a decoder, and is quick at that.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

from playwright.sync_api import Page

SIGNATURE = b"\x89PNG\r\n\x1a\n"
BEST = 9

# Colours that are alike to the eye are one, of which the most frequent stands for the others: areas of one colour keep
# it. Kept are the most frequent ones, and then, one by one, that which would suffer most from being left out: else a
# small sign in a colour of its own would lose to shades of grey. What is left over is painted in the nearest of these.
REDUCE = """async (encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], {type: "image/png"}));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
  const parts = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255];
  const alike = new Map();
  for (const [pixel, count] of counts) {
    const name = (pixel >> 3) & 0x1f1f1f;
    const found = alike.get(name) || {total: 0, most: 0, pixel};
    found.total += count;
    if (count > found.most) [found.most, found.pixel] = [count, pixel];
    alike.set(name, found);
  }
  const distance = (one, other) => one.reduce((sum, part, at) => sum + (part - other[at]) ** 2, 0);
  const rest = [...alike.values()].sort((a, b) => b.total - a.total);
  for (const colour of rest) [colour.parts, colour.away] = [parts(colour.pixel), Infinity];
  const kept = [];
  while (kept.length < 256 && rest.length) {
    let worst = 0;
    if (kept.length >= 64) {
      rest.forEach((it, at) => { if (it.total * it.away > rest[worst].total * rest[worst].away) worst = at; });
    }
    const [chosen] = rest.splice(worst, 1);
    kept.push(chosen.parts);
    for (const colour of rest) colour.away = Math.min(colour.away, distance(colour.parts, chosen.parts));
  }
  const places = new Map();
  for (const pixel of counts.keys()) {
    const wanted = parts(pixel);
    let best = 0;
    kept.forEach((colour, place) => { if (distance(colour, wanted) < distance(kept[best], wanted)) best = place; });
    places.set(pixel, best);
  }
  let text = "";
  for (const pixel of pixels) text += String.fromCharCode(places.get(pixel));
  return {width: bitmap.width, height: bitmap.height, palette: kept.flat(), places: btoa(text)};
}"""


def with_palette(page: Page, png: bytes) -> bytes:
    """The picture `png`, which is opaque, in at most 256 colours. `page` is any page, and stays as it is."""
    found: dict[str, Any] = page.evaluate(REDUCE, base64.b64encode(png).decode())
    width, height, places = found["width"], found["height"], base64.b64decode(found["places"])
    rows = b"".join(b"\0" + places[start : start + width] for start in range(0, width * height, width))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", bytes(found["palette"])),
        (b"IDAT", zlib.compress(rows, BEST)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
