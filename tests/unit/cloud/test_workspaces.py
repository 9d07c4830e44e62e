import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.cloud.access import WorkspaceAccess
from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.http.errors import CloudError, Denied, Refused, ServerError, Unreachable, Unsupported
from exporter.cloud.workspaces import REFRESH_S, AllWorkspaces, FixedWorkspaces
from exporter.domain.source import SourceError
from tests.clock import ManualClock
from tests.unit.cloud.recorded_unknowns import Notes

RECORDED = (Path(__file__).parents[2] / "fixtures" / "v1" / "workspaces.json").read_bytes()
RESEARCH = "5ec0d000000000000000000000000001"


ASKED = {"limit": "1000", "filter_accessible": "true"}


class Scripted:
    """Answers one call after the other, and repeats the last response."""

    def __init__(self, *answers: bytes | CloudError | None) -> None:
        self.answers = list(answers)
        self.calls: list[dict[str, str]] = []

    async def call(
        self,
        endpoint: Endpoint[Any],
        *,
        path: Mapping[str, str] | None = None,  # noqa: ARG002 - part of the protocol
        query: Mapping[str, str] | None = None,
        body: object = None,  # noqa: ARG002 - part of the protocol
    ) -> Any:
        """Answer or raise."""
        self.calls.append(dict(query or {}))
        await asyncio.sleep(0)  # lets other tasks run, as a real call does
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CloudError):
            raise answer
        return None if answer is None else msgspec.json.decode(answer, type=endpoint.answer)


def page(*ids: object, total: object = None) -> bytes:
    return msgspec.json.encode({"total_count": total, "workspaces": [{"id": each} for each in ids]})


async def test_fixed_workspaces_are_those_of_the_settings() -> None:
    """The ids in the settings are used, and no others."""
    assert await FixedWorkspaces(("0", "w1"), access=WorkspaceAccess(ManualClock(), fixed=True))() == ("0", "w1")


async def test_all_workspaces_are_listed_once_an_hour(clock: ManualClock) -> None:
    """Trap 4: every workspace of the project, cached, because they rarely change."""
    caller = Scripted(RECORDED, page("0"))
    workspaces = AllWorkspaces(caller, clock, Notes())

    first, again = await workspaces(), await workspaces()
    clock.turn(REFRESH_S)
    later = await workspaces()

    assert first == again == ("0", RESEARCH)
    assert later == ("0",)
    assert caller.calls == [ASKED, ASKED]


@pytest.mark.parametrize(
    "answer",
    [
        Unsupported("v1_list_workspaces", "no such API", status=404),
        Refused("v1_list_workspaces", "no", status=400),
        Denied("v1_list_workspaces", "no", status=403),
        page(),
        None,
    ],
    ids=["unsupported", "refused", "denied", "no workspaces", "nothing"],
)
async def test_without_a_list_only_the_default_workspace_is_used(
    clock: ManualClock, answer: bytes | CloudError | None
) -> None:
    """If the call is missing or not permitted, the default workspace is used, also for an hour."""
    caller = Scripted(answer)
    workspaces = AllWorkspaces(caller, clock, Notes())

    assert await workspaces() == ("0",)
    assert await workspaces() == ("0",)
    assert caller.calls in ([ASKED], [ASKED, {"limit": "1000"}])


async def test_both_generations_ask_once(clock: ManualClock) -> None:
    """Two polls that begin at the same time share one request."""
    caller = Scripted(RECORDED)
    workspaces = AllWorkspaces(caller, clock, Notes())

    first, second = await asyncio.gather(workspaces(), workspaces())

    assert first == second == ("0", RESEARCH)
    assert len(caller.calls) == 1


async def test_a_failure_keeps_the_last_answer(clock: ManualClock) -> None:
    """Workspaces are kept when a call fails; the next poll requests them again."""
    caller = Scripted(RECORDED, ServerError("v1_list_workspaces", "down", status=502), page("0"))
    workspaces = AllWorkspaces(caller, clock, Notes())
    await workspaces()
    clock.turn(REFRESH_S)

    assert await workspaces() == ("0", RESEARCH)
    assert await workspaces() == ("0",)


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(Denied("v1_list_workspaces", "no", status=403), id="forbidden"),
        pytest.param(Refused("v1_list_workspaces", "no", status=400), id="refused"),
        pytest.param(Denied("v1_list_workspaces", "no", status=401), id="unauthenticated"),
        pytest.param(Denied("credentials", "the secret key cannot be read"), id="no-secret"),
    ],
)
async def test_a_refusal_keeps_the_last_answer(clock: ManualClock, refusal: CloudError) -> None:
    """Workspaces that were listed once are kept when the list is refused later."""
    workspaces = AllWorkspaces(Scripted(RECORDED, refusal), clock, Notes())
    await workspaces()
    clock.turn(REFRESH_S)

    assert await workspaces() == ("0", RESEARCH)


async def test_a_rejected_credential_is_raised(clock: ManualClock) -> None:
    """A 401 says nothing about workspaces: with only the default one, other jobs would be hidden for an hour."""
    workspaces = AllWorkspaces(Scripted(Denied("v1_list_workspaces", "no", status=401), RECORDED), clock, Notes())

    with pytest.raises(Denied):
        await workspaces()
    assert await workspaces() == ("0", RESEARCH)


async def test_a_failure_before_any_answer_is_raised(clock: ManualClock) -> None:
    """With only the default workspace, the jobs of the others would be hidden."""
    workspaces = AllWorkspaces(Scripted(Unreachable("v1_list_workspaces", "no response")), clock, Notes())

    with pytest.raises(SourceError):
        await workspaces()


async def test_a_long_list_is_read_in_pages(clock: ManualClock) -> None:
    """The total shows that there are more; the offset is the number of known ones."""
    caller = Scripted(page("0", "a", total="3"), page("b", total=3))

    assert await AllWorkspaces(caller, clock, Notes())() == ("0", "a", "b")
    assert caller.calls == [ASKED, {**ASKED, "offset": "2"}]


async def test_a_wrong_total_ends_at_a_page_without_new_workspaces(clock: ManualClock) -> None:
    """A page without new workspaces is the last."""
    caller = Scripted(page("0", total=9), page("0", total=9))

    assert await AllWorkspaces(caller, clock, Notes())() == ("0",)
    assert len(caller.calls) == 2


async def test_bad_items_are_skipped_and_noted(clock: ManualClock) -> None:
    """An item without a valid id is skipped; the others are used."""
    notes = Notes()
    caller = Scripted(b'{"workspaces": [{"id": "0"}, 17, {"id": null}, {"id": "../x"}, {"id": 5}]}')

    assert await AllWorkspaces(caller, clock, notes)() == ("0", "5")
    assert notes.fields == ["v1.workspaces", "v1.workspaces.id", "v1.workspaces.id"]
