"""A process of its own: move a large file through the service class and print by how much its memory grew, in bytes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from nono.connector.genai_batch_processing import AsyncGeminiBatchService, GeminiBatchService


def peak_bytes() -> int:
    """The high-water mark of this process alone: `ru_maxrss` would begin with that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def blocking(base_url: str, source: Path, target: Path) -> None:
    with GeminiBatchService(api_key="k", base_url=base_url) as service:
        if sys.argv[2] == "up":
            service.create_file_batch(source)
        else:
            service.get_file_results("batches/big", target)


async def on_a_loop(base_url: str, source: Path, target: Path) -> None:
    async with AsyncGeminiBatchService(api_key="k", base_url=base_url) as service:
        if sys.argv[2] == "up":
            await service.create_file_batch(source)
        else:
            await service.get_file_results("batches/big", target)


def warm_up(base_url: str, small: Path) -> None:
    """Everything that is imported or allocated once, whatever the size."""
    with GeminiBatchService(api_key="k", base_url=base_url) as service:
        job = service.create_file_batch(small)
        service.get_file_results(job.name, small.with_suffix(".out"))
    asyncio.run(warm_up_async(base_url))


async def warm_up_async(base_url: str) -> None:
    async with AsyncGeminiBatchService(api_key="k", base_url=base_url) as service:
        await service.list_all_jobs()


if __name__ == "__main__":
    url, source, target = sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5])
    warm_up(url, Path(sys.argv[6]))
    before = peak_bytes()
    if sys.argv[1] == "sync":
        blocking(url, source, target)
    else:
        asyncio.run(on_a_loop(url, source, target))
    print(peak_bytes() - before)
