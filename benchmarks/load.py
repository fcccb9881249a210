"""Load on a server: as fast as it answers (wrk), or at a rate that does not wait for it."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import CLIENT_CORE, Server

CONNECTIONS = 16


@dataclass(frozen=True)
class Measured:
    """Requests a second, and milliseconds of latency."""

    rate: float
    p50_ms: float
    p99_ms: float


def need_wrk() -> None:
    """Ends the program where wrk is missing."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not here: apt-get install wrk")


def closed_loop(
    server: Server, bodies: Sequence[object], folder: Path, seconds: int, *, pinned: bool = True
) -> Measured:
    """What wrk measures with 16 connections, each of which waits for its answer."""
    script = folder / "post.lua"
    script.write_text(_lua(bodies), encoding="utf-8")
    done = subprocess.run(
        [
            *(("taskset", "-c", CLIENT_CORE) if pinned else ()),
            *("wrk", "--threads", "1", "--latency", "--timeout", "20s"),
            *("--connections", str(CONNECTIONS), "--duration", f"{seconds}s"),
            *("--script", str(script), f"http://127.0.0.1:{server.port}{server.route}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout
    if refused := re.search(r"Non-2xx or 3xx responses: (\d+)", said):
        sys.exit(f"{refused[1]} requests were refused at {server.route}: {server.said()}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    shares = dict(re.findall(r"^\s+(50|99)%\s+(\S+)\s*$", said, re.MULTILINE))
    if rate is None or len(shares) < 2 or not float(rate[1]):
        sys.exit(f"wrk said: {said}")
    return Measured(float(rate[1]), _milliseconds(shares["50"]), _milliseconds(shares["99"]))


def open_loop(server: Server, bodies: Sequence[object], rate: int, seconds: int) -> Measured:
    """Requests that leave when their time has come, whatever became of those before.

    Latency counts from the time at which a request should have left: one that waits for a
    connection waits for the server. Runs on the client's core, in this process.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    try:
        taken = asyncio.run(_at_rate(server, [_request(server, b) for b in bodies], rate, seconds))
    finally:
        os.sched_setaffinity(0, before)
    taken.sort()
    return Measured(
        len(taken) / seconds,
        taken[len(taken) // 2] * 1e3,
        taken[min(len(taken) * 99 // 100, len(taken) - 1)] * 1e3,
    )


async def _at_rate(
    server: Server, requests: Sequence[bytes], rate: int, seconds: int
) -> list[float]:
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    taken: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while (one := await due.get()) is not None:
            at, request = one
            writer.write(request)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:  # It was idle for too long, and closed.
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head[:20]:
                sys.exit(f"A request was refused at {server.route}: {head!r}")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if length is None:
                sys.exit(f"An answer of no given length at {server.route}: {head!r}")
            await reader.readexactly(int(length[1]))
            taken.append(time.perf_counter() - at)
        writer.close()

    connections = [asyncio.create_task(connection()) for _ in range(4 * CONNECTIONS)]
    await asyncio.sleep(0.2)
    began = time.perf_counter()
    for n in range(rate * seconds):
        at = began + n / rate
        if (wait := at - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        due.put_nowait((at, requests[n % len(requests)]))
    for _ in connections:
        due.put_nowait(None)
    await asyncio.gather(*connections)
    return taken


def _request(server: Server, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {server.route} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _milliseconds(text: str) -> float:
    """wrk's `1.23ms`, `45.00us` or `1.20s`."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def _lua(bodies: Sequence[object]) -> str:
    listed = ",\n".join(f"[==[{json.dumps(body)}]==]" for body in bodies)
    return f"""local bodies = {{{listed}}}
local headers = {{["Content-Type"] = "application/json"}}
local n = 0
request = function()
    n = n % #bodies + 1
    return wrk.format("POST", nil, headers, bodies[n])
end
"""
