"""The stage: both simulators on loopback sockets, with failures planted on purpose, for the demo and for `simulate`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from jobsync.simulators import gohighlevel, servicetitan

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Planted:
    """A failure on purpose: the unit it shows at, what is wrong, and what a person does about it."""

    unit: int
    what: str
    fix: str


@dataclass(frozen=True)
class Upstreams:
    """Both simulators, running. `hooks`: unit id -> hook URL; `planted`: what fails on purpose."""

    servicetitan: servicetitan.Served
    gohighlevel: gohighlevel.Serving
    hooks: dict[int, str]
    planted: tuple[Planted, ...]
    location: gohighlevel.Furnished

    def environment(self) -> dict[str, str]:
        """The variables that point JobSync at these simulators."""
        account = self.servicetitan.simulator.account()
        return {
            "SERVICE_TITAN_TENANT_ID": str(account.tenant),
            "SERVICE_TITAN_CLIENT_ID": account.client_id,
            "SERVICE_TITAN_CLIENT_SECRET": account.client_secret,
            "SERVICE_TITAN_APP_KEY": account.app_key,
            "SERVICE_TITAN_API_URL": self.servicetitan.url,
            "SERVICE_TITAN_AUTH_URL": self.servicetitan.url,
            "GHL_API_URL": self.gohighlevel.url,
            "GHL_API_KEY": self.location.token,
            "GHL_LOCATION_ID": self.location.location.id,
            "JOBSYNC_ALLOW_HOSTS": HOST,
        }


@asynccontextmanager
async def open_upstreams(
    *, jobs: int, seed: int, servicetitan_port: int = 0, gohighlevel_port: int = 0, live: bool = True
) -> AsyncIterator[Upstreams]:
    """Starts both simulators; ends them with the block. A taken port falls back to a free one."""
    now = servicetitan.machine_now()
    titan = servicetitan.Simulator(
        servicetitan.Dataset.generate(seed, jobs, now=now), clock=servicetitan.SimClock(now, running=live)
    )
    level = gohighlevel.GoHighLevelSimulator(seed=seed)
    furnished = gohighlevel.furnish(level)
    async with AsyncExitStack() as stack:
        titan_served = await _serve(stack, lambda port: servicetitan.serve(titan, HOST, port), servicetitan_port)
        level_served = await _serve(stack, lambda port: gohighlevel.serve(level, HOST, port), gohighlevel_port)
        hooks, planted = _plant(level, level_served.url)
        yield Upstreams(titan_served, level_served, hooks, planted, furnished)


async def _serve(stack: AsyncExitStack, start, port: int):
    try:
        return await stack.enter_async_context(await start(port))
    except OSError:
        return await stack.enter_async_context(await start(0))


def _plant(level: gohighlevel.GoHighLevelSimulator, url: str) -> tuple[dict[int, str], tuple[Planted, ...]]:
    hooks: dict[int, str] = {}
    for unit in (1314, 54670601, 4622):
        hooks[unit] = url + level.hook_path(level.add_hook(mode="live"))
    failing = level.add_hook(mode="live")
    level.faults.add("status", path=level.hook_path(failing), times=None, status=500)
    hooks[26143] = url + level.hook_path(failing)
    hooks[1308] = url + level.hook_path(level.add_hook(mode="test"))
    return hooks, (
        Planted(26143, "its hook answers 500", "mend the hook; JobSync tries again by itself"),
        Planted(
            1308, 'its hook answers "test request received": the workflow is not published', "publish it, then replay"
        ),
        Planted(4623, "it is not routed anywhere", "jobsync units set 4623 --webhook URL"),
    )
