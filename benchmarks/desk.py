"""How soon the desk is there, and how it keeps up with typing, beside bare pages in one browser.

    python -m benchmarks.desk [http://127.0.0.1:3000]

Needs a running service (`make serve`), what `make check` installs, and Chromium. The first load is
that of a browser which has nothing yet, until a mail can be typed, beside GET /hello of the same
service; the monitor is there when it has drawn both charts and the latest decisions. A mail of
20,000 characters is typed into at its middle, once in paragraphs and once in a single line without
an end, beside a bare textarea of the same size with the same text. Each is done in turn, five
times: what is told is the median, but for the longest task, which is that of all.
"""

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, CDPSession, sync_playwright

from benchmarks import report

ROUNDS = 5
KEYS = "the quick brown fox jumps over a lazy dog"
BETWEEN_MS = 80
LENGTH = 20_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
MAIL = "Hi Anna,\n\nplease pay invoice 2231 from Contoso GmbH: EUR 125.00 to Harper Ltd.\n"
TEXTS = {
    "in paragraphs": (MAIL + ("And more below. " * 11 + "\n") * 120)[:LENGTH],
    "in one line": (MAIL + "And more below. " * 1_300)[:LENGTH],
}
BARE = "<textarea id=mail-text spellcheck=false style='width:560px;height:540px'></textarea>"
WATCH = """() => { window.tasks = []; window.keys = [];
  const hear = (type, options, take) => new PerformanceObserver((list) =>
    list.getEntries().forEach(take)).observe({ type, ...options });
  hear("longtask", {}, ({ duration }) => tasks.push(duration));
  hear("event", { durationThreshold: 16 }, ({ name, duration }) =>
    name === "keydown" && keys.push(duration)); }"""


def main() -> None:
    """Prints Markdown tables and a line of JSON."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000"
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        loads = {
            "a bare page": lambda: load(browser, f"{url}/hello", "pre, body"),
            "the desk, to a mail": lambda: load(browser, url, "#mail-text"),
            "the monitor, to charts and rows": lambda: load(
                browser, f"{url}/#monitor", "figure:nth-of-type(2) canvas", "tr.decision"
            ),
        }
        loaded = in_turn(loads)
        typed = {
            form: in_turn(
                {
                    "a bare textarea": lambda text=text: typing(browser, None, text),
                    "the desk": lambda text=text: typing(browser, url, text),
                }
            )
            for form, text in TEXTS.items()
        }
        browser.close()
    sizes = [
        (name, f"{middle(rounds, 'ms'):.0f}", f"{middle(rounds, 'bytes') / 1000:.0f}")
        for name, rounds in loaded.items()
    ]
    report.table(("first load", "ms", "kB sent"), sizes)
    print()
    rows = []
    for form, sides in typed.items():
        for name, rounds in sides.items():
            longest = max(of["longest_task_ms"] for of in rounds)
            work, paint = middle(rounds, "work_ms"), middle(rounds, "paint_ms")
            shown = f"{longest:.0f}" if longest else "none over 50"
            rows.append((f"{form}: {name}", f"{work:.1f}", f"{paint:.0f}", shown))
    times = ("work a key, ms", "key to paint, ms", "longest task, ms")
    report.table(("typing, 20,000 characters", *times), rows)
    print(json.dumps({"loaded": loaded, "typed": typed}))


Measured = dict[str, float]


def in_turn(ways: dict[str, Callable[[], Measured]]) -> dict[str, list[Measured]]:
    """What each measured, round by round."""
    rounds = [{name: way() for name, way in ways.items()} for _ in range(ROUNDS)]
    return {name: [of[name] for of in rounds] for name in ways}


def middle(rounds: list[Measured], name: str) -> float:
    """The median."""
    return statistics.median(of[name] for of in rounds)


def load(browser: Browser, address: str, *until: str) -> Measured:
    """Milliseconds until all of `until` is there, in a browser without a cache; bytes as sent."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    sent: list[float] = []
    session.on("Network.loadingFinished", lambda done: sent.append(done["encodedDataLength"]))
    began = time.perf_counter()
    page.goto(address, wait_until="commit")
    for what in until:
        page.locator(what).first.wait_for()
    took = (time.perf_counter() - began) * 1000
    context.close()
    return {"ms": took, "bytes": sum(sent)}


def typing(browser: Browser, url: str | None, text: str) -> Measured:
    """Of the main thread: milliseconds of work a key; of a person: until the key is painted."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    if url is None:
        page.set_content(BARE)
    else:
        page.goto(url)
    box = page.locator("#mail-text")
    box.fill(text)
    page.wait_for_timeout(2_500)  # It has been read by then.
    box.evaluate("(it, at) => { it.focus(); it.setSelectionRange(at, at); }", LENGTH // 2)
    page.evaluate(WATCH)
    session = context.new_cdp_session(page)
    session.send("Performance.enable")
    before = _work_s(session)
    page.keyboard.type(KEYS, delay=BETWEEN_MS)
    work_s = _work_s(session) - before
    seen: dict[str, Any] = page.evaluate("({ tasks, keys })")
    context.close()
    # The browser tells of none below 16 ms.
    keys = [*seen["keys"], *[16.0] * (len(KEYS) - len(seen["keys"]))]
    return {
        "work_ms": work_s * 1000 / len(KEYS),
        "paint_ms": statistics.median(keys),
        "longest_task_ms": max(seen["tasks"], default=0.0),
    }


def _work_s(session: CDPSession) -> float:
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(of["value"] for of in metrics if of["name"] == "TaskDuration"))


if __name__ == "__main__":
    main()
