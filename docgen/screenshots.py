"""Take the screenshots of the market page in `docs/images`: ``python -m docgen.screenshots``.

It needs Chromium, and a demo that runs: ``ime-live demo``. Let the demo run for some minutes first,
so that there are candles.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.support.chromium import Page, chromium, page_at, tab

FOLDER: Final = Path(__file__).parent.parent / "docs" / "images"
PICTURES: Final = {
    "page-en.webp": ("en", "light", "#contract=SAFOR01"),
    "page-fa.webp": ("fa", "dark", "#contract=GB30AB03"),
}
"""File name → language, theme and URL fragment."""

_STARS: Final = ["203", "12345", "43"]
_SETTLED: Final = 4.0  # seconds, until candles are there


async def _shoot(page: Page, address: str, name: str) -> None:
    language, theme, fragment = PICTURES[name]
    choices = json.dumps({"language": language, "theme": theme, "stars": _STARS})
    await page.visit(f"{address}/docs")  # of the same origin
    await page.evaluate(f"localStorage.setItem('ime-live', {json.dumps(choices)})")
    await page.visit(f"{address}/{fragment}")
    await page.until("document.querySelector('.grid')?.ariaRowCount > 2")
    await asyncio.sleep(_SETTLED)
    FOLDER.mkdir(exist_ok=True)
    picture = await page.command("Page.captureScreenshot", format="webp", quality=80)
    (FOLDER / name).write_bytes(base64.b64decode(picture["data"]))


async def _shoot_all(browser: str, address: str) -> None:
    async with page_at(browser) as page:
        size = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}
        await page.command("Emulation.setDeviceMetricsOverride", **size)
        for name in PICTURES:
            await _shoot(page, address, name)


def main() -> None:
    """Take all screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the demo")
    address = parser.parse_args().url.rstrip("/")
    with tempfile.TemporaryDirectory() as home:
        browsers: Any = chromium(Path(home))  # generators, which their tests' fixtures are
        tabs: Any = tab(next(browsers))
        try:
            asyncio.run(_shoot_all(next(tabs), address))
        finally:
            for generator in (tabs, browsers):
                next(generator, None)  # to its end


if __name__ == "__main__":
    main()
