"""proxy/admin/guard.py: who may ask for what is under /api/."""

from __future__ import annotations

import pytest

from ..corridor import TWO_GROUPS, corridor, service
from ..test_exchange import ROOMY
from .test_keys import admin, told


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)
async def test_a_page_in_a_browser_has_no_business_here(fields: dict[str, str]) -> None:
    """Whatever name it reached us by; neither to change nor to read (threats J2)."""
    async with corridor(service(1, ROOMY, keys=TWO_GROUPS)) as front, admin(front) as url:
        assert (await told(front.session, f"{url}/api/keys/off", {"key": "a"}, **fields))[0] == 403
        assert (await told(front.session, f"{url}/api/keys", **fields))[0] == 403
        assert {key.state for _, key in front.keyring.look()} == {"active"}


async def test_the_token_is_asked_for_where_there_is_one() -> None:
    """For reading too; by our own name as well as by address. Health needs none."""
    async with corridor(service(1, ROOMY, keys=TWO_GROUPS)) as front, admin(front, "canary-admin") as url:
        own = {"Host": "headgate.internal"}
        assert (await told(front.session, f"{url}/api/keys"))[0] == 401
        assert (await told(front.session, f"{url}/api/keys", Authorization="Bearer canary-admim"))[0] == 401
        assert (await told(front.session, f"{url}/api/keys", Authorization="Bearer canary-admin", **own))[0] == 200
        assert (await told(front.session, f"{url}/healthz"))[0] == 200


async def test_a_form_of_another_site_changes_nothing() -> None:
    """What a browser sends without asking first is not JSON."""
    async with corridor(service(1, ROOMY, keys=TWO_GROUPS)) as front, admin(front) as url:
        async with front.session.post(f"{url}/api/keys/off", data='{"key": "a"}') as reply:
            assert reply.status == 415
        assert {key.state for _, key in front.keyring.look()} == {"active"}
