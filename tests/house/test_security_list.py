"""The security list X1 to X18, each with the tests that hold it; a test that is renamed or lost is missed here."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HELD: dict[str, tuple[str, ...]] = {
    "X1 an open API": (
        "web/test_access.py::test_jobsync_refuses_to_be_open_to_other_machines",
        "web/test_access.py::test_only_the_liveness_route_is_open",
        "web/test_access.py::test_every_route_denies_every_bad_credential",
        "web/test_access.py::test_a_route_that_does_not_say_what_it_needs_does_not_start",
    ),
    "X2 loopback is not safe": (
        "web/test_access.py::test_a_page_or_proxy_in_between_is_not_this_machine",
        "web/test_malformed.py::test_a_body_that_is_not_json_by_content_type_is_415",
    ),
    "X3 stolen tokens": (
        "web/test_access.py::test_nothing_in_the_database_verifies_as_a_token",
        "web/test_access.py::test_a_revoked_token_ends_within_five_seconds",
        "web/test_access.py::test_each_scope_opens_its_own_routes_and_no_others",
        "web/test_tenants.py::test_a_rotated_token_and_its_follower_both_work_until_the_grace_ends",
    ),
    "X4 another tenant's rows": (
        "sql/test_tenants_apart.py::test_each_tenant_sees_its_own_rows_and_no_others_in_every_table_and_view",
        "sql/test_tenants_apart.py::test_a_row_of_another_tenant_cannot_be_written",
        "sql/test_tenants_apart.py::test_without_a_tenant_every_table_and_view_is_empty",
        "sql/test_access_catalog.py::test_every_table_with_a_tenant_has_row_security_and_a_policy_for_reading_and_writing",
        "web/test_tenants.py::test_an_administrator_of_one_tenant_reaches_no_other",
    ),
    "X5 hooks that lead inside": (
        "gohighlevel/test_destination_guard.py::test_no_refused_url_ever_reaches_a_socket",
        "gohighlevel/test_destination_guard.py::test_a_name_that_flips_from_public_to_loopback_after_the_check_reaches_no_socket",
        "gohighlevel/test_destination_guard.py::test_a_redirect_to_the_inside_is_not_followed",
        "gohighlevel/test_destination_guard.py::test_one_private_address_among_public_ones_is_enough_to_refuse",
        "web/test_proxy.py::test_nothing_outside_the_table_can_be_asked_for",
    ),
    "X6 script in names": (
        "web/test_dashboard_pages.py::test_forty_payloads_in_every_field_stay_text",
        "web/test_service.py::test_every_answer_carries_the_security_headers",
        "house/test_never.py::RULES",
    ),
    "X7 sessions": (
        "web/test_dashboard_access.py::test_each_page_is_refused_to_strangers_and_lower_roles",
        "web/test_dashboard_access.py::test_each_form_is_refused_without_its_own_token",
        "web/test_dashboard_access.py::test_a_session_set_from_outside_is_not_taken_over_at_sign_in",
        "web/test_dashboard_access.py::test_ten_failures_lock_a_name_for_an_address_and_nobody_else",
        "web/test_dashboard_access.py::test_signing_out_ends_the_session_on_the_server",
        "web/test_dashboard_access.py::test_a_session_ends_after_twelve_hours_without_a_page",
        "house/test_security_list.py::test_a_cookie_opens_pages_and_nothing_of_the_api",
    ),
    "X8 SQL in values": (
        "web/test_malformed.py::test_no_id_and_no_query_makes_a_server_error",
        "web/test_schema_fuzz.py::test_every_operation_holds_to_its_description",
        "house/test_never.py::RULES",
    ),
    "X9 secrets at rest": (
        "web/test_units.py::test_a_put_with_a_url_makes_jobsync_deliver_and_shows_the_url_masked",
    ),
    "X10 secrets and people in logs": (
        "servicetitan/test_secrets.py::test_no_refusal_repeats_what_was_sent_or_answered",
        "gohighlevel/test_secrets.py::test_a_hook_that_repeats_everything_gives_nothing_away",
        "web/test_service.py::test_an_unexpected_error_shows_an_id_and_logs_a_line_without_content",
    ),
    "X11 erasing and keeping": (
        "engine/test_erase.py::test_an_erased_customer_leaves_no_word_behind_and_never_comes_back",
        "engine/test_erase.py::test_every_table_with_raw_records_of_people_keeps_erased_ones_out",
        "engine/test_erase.py::test_pruning_ends_what_was_kept_long_enough_and_nothing_else",
    ),
    "X12 forged webhooks": ("house/test_security_list.py::test_nothing_takes_webhooks_from_outside",),
    "X13 floods": (
        "web/test_rate.py::test_far_too_many_at_once_are_told_to_wait",
        "web/test_service.py::test_a_slow_head_ends_the_connection",
        "web/test_service.py::test_a_slow_body_ends_with_408",
        "web/test_service.py::test_more_requests_than_fit_are_asked_to_come_back",
        "web/test_malformed.py::test_bodies_are_at_most_32_levels_deep",
        "web/test_batches.py::test_only_the_batch_takes_large_bodies",
        "web/test_events.py::test_only_so_many_watch_at_once_and_a_wrong_place_is_refused",
    ),
    "X14 rights in the database": (
        "sql/test_access_catalog.py::test_the_program_role_owns_nothing_and_cannot_go_around_row_security",
        "sql/test_access_catalog.py::test_no_function_runs_with_its_owners_rights",
    ),
    "X15 formulas in sheets": ("web/test_pending_leases.py::test_pending_jobs_as_a_sheet_hold_no_formula",),
    "X16 packages": ("house/test_security_list.py::test_every_package_is_pinned_by_its_hash", "house/test_never.py::RULES"),
    "X17 headers and TLS": (
        "web/test_access.py::test_every_route_denies_every_bad_credential",
        "web/test_service.py::test_every_answer_carries_the_security_headers",
        "gohighlevel/test_destination_guard.py::test_certificate_checks_cannot_be_switched_off",
    ),
    "X18 mistakes of operators": (
        "web/test_admin.py::test_arm_shows_the_count_and_does_nothing_until_it_is_confirmed",
        "web/test_admin.py::test_replay_takes_its_own_scope_and_asks_before_it_sends_delivered_ones_again",
        "web/test_admin.py::test_a_customer_is_erased_once_it_is_confirmed_and_is_not_taken_in_again",
        "web/test_old_clients.py::test_last_job_pull_takes_no_nonsense_and_no_future",
    ),
}  # fmt: skip


@cache
def names_in(path: Path) -> frozenset[str]:
    """What a file of tests defines at its top."""
    found: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return frozenset(found)


def test_the_list_is_whole() -> None:
    assert [name.split(" ")[0] for name in HELD] == [f"X{number}" for number in range(1, 19)]


@pytest.mark.parametrize("threat", HELD)
def test_every_threat_is_named_by_tests_that_exist(threat: str) -> None:
    for place in HELD[threat]:
        file, name = place.split("::")
        assert name in names_in(ROOT / file), place


def test_a_cookie_opens_pages_and_nothing_of_the_api() -> None:
    """Every call of the API brings its own key or token; only pages, whose forms carry tokens, look at a session."""
    for path in (ROOT.parent / "src" / "jobsync" / "web").rglob("*.py"):
        if "dashboard" not in path.parts:
            assert "cookie" not in path.read_text("utf-8").lower(), path.name


def test_nothing_takes_webhooks_from_outside() -> None:
    """What comes in from outside comes with a key or token; polling stays the truth."""
    from jobsync.web.calls import needs_of
    from tests.web.conftest import list_routes

    taking = [route.path for route in list_routes() if needs_of(route).scope == "open" and route.methods != {"GET"}]
    assert taking == []


def test_every_package_is_pinned_by_its_hash() -> None:
    for file in (ROOT.parent / "requirements").glob("*.txt"):
        lines = [line for line in file.read_text("utf-8").splitlines() if line and line[0].isalnum()]
        assert lines
        for line in lines:
            assert "==" in line and line.endswith("\\"), (file.name, line)
