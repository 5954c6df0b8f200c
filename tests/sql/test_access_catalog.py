"""What the catalog says: policies, comments, rights, and a dump that the owner can take."""

from __future__ import annotations

import anyio
import psycopg
import pytest

from jobsync.db.migrate import migrate
from tests.sql.conftest import Program
from tests.sql.story import SALES, Story, job

OURS = "n.nspname in ('public', 'jobsync')"


def names(story: Story, statement: str) -> list[str]:
    return [row["name"] for row in story.owner(statement)]


def test_every_table_with_a_tenant_has_row_security_and_a_policy_for_reading_and_writing(story: Story) -> None:
    missing = names(
        story,
        "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped "
        f"where {OURS} and c.relkind in ('r', 'p') and not (c.relrowsecurity and not c.relforcerowsecurity and exists ("
        "select from pg_policy p where p.polrelid = c.oid and p.polcmd = '*' and p.polqual is not null and p.polwithcheck is not null))",
    )
    assert missing == []


def test_only_tables_without_anybodys_rows_have_no_tenant(story: Story) -> None:
    found = names(
        story,
        f"select c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where {OURS} and c.relkind in ('r', 'p') "
        "and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id') order by 1",
    )
    assert found == ["breakers", "clock", "migrations"]


def test_tenant_id_leads_every_primary_key(story: Story) -> None:
    wrong = names(
        story,
        "select i.indrelid::regclass::text as name from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace "
        f"join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0] where {OURS} and i.indisprimary and a.attname <> 'tenant_id' order by 1",
    )
    assert wrong == ["jobsync.breakers", "jobsync.clock", "jobsync.migrations"]


@pytest.mark.parametrize(
    "statement",
    [
        f"select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where {OURS} and c.relkind in ('r', 'v', 'p') "
        "and obj_description(c.oid, 'pg_class') is null",
        f"select p.oid::regprocedure::text as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {OURS} "
        "and obj_description(p.oid, 'pg_proc') is null",
        f"select t.typname::text as name from pg_type t join pg_namespace n on n.oid = t.typnamespace left join pg_class c on c.oid = t.typrelid "
        f"where {OURS} and (t.typtype in ('e', 'd') or t.typtype = 'c' and c.relkind = 'c') and obj_description(t.oid, 'pg_type') is null",
        "select c.relname || '.' || a.attname as name from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
        "where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and col_description(c.oid, a.attnum) is null",
        "select n.nspname::text as name from pg_namespace n where n.nspname like 'jobsync%' and obj_description(n.oid, 'pg_namespace') is null",
    ],
    ids=["tables and views", "functions", "types", "columns of public", "schemas"],
)
def test_everything_says_what_it_is(story: Story, statement: str) -> None:
    assert names(story, statement) == []


def test_no_function_runs_with_its_owners_rights(story: Story) -> None:
    statement = f"select p.oid::regprocedure::text as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {OURS} and p.prosecdef"
    assert names(story, statement) == []


def test_every_view_shows_a_role_no_more_than_its_own_rows(story: Story) -> None:
    statement = (
        f"select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where {OURS} and c.relkind = 'v' "
        "and not coalesce(c.reloptions @> '{security_invoker=true}', false)"
    )
    assert names(story, statement) == []


def test_the_program_role_owns_nothing_and_cannot_go_around_row_security(story: Story) -> None:
    role = story.owner(
        "select rolsuper, rolbypassrls, rolcanlogin, rolcreaterole, rolcreatedb from pg_roles where rolname = 'jobsync_app'"
    )
    assert set(role[0].values()) == {False}
    owned = story.owner(
        "select 1 from pg_class where relowner = 'jobsync_app'::regrole union all select 1 from pg_proc where proowner = 'jobsync_app'::regrole "
        "union all select 1 from pg_namespace where nspowner = 'jobsync_app'::regrole"
    )
    assert owned == []
    rights = story.owner(
        "select has_schema_privilege('jobsync_app', s, 'CREATE') as may from unnest(array['public', 'jobsync', 'jobsync_queue']) s "
        "union all select has_database_privilege('jobsync_app', current_database(), 'CREATE')"
    )
    assert {row["may"] for row in rights} == {False}
    truncates = story.owner(
        f"select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where {OURS} and c.relkind = 'r' "
        "and has_table_privilege('jobsync_app', c.oid, 'TRUNCATE, TRIGGER, REFERENCES')"
    )
    assert truncates == []


def test_the_audit_can_only_grow(story: Story) -> None:
    story.page(job(1))
    story.rows("select * from jobsync.mark_job('default', 1, 'failed', null, null)")
    assert story.refusal("update jobsync.audit set actor = 'x'").sqlstate == "42501"
    assert story.refusal("delete from jobsync.audit").sqlstate == "42501"


def test_nobody_moves_the_clock_neither_program_nor_owner(story: Story) -> None:
    assert story.refusal("update jobsync.clock set shift = '1 day'").sqlstate == "42501"
    for statement in (
        "update jobsync.clock set shift = '1 day'",
        "insert into jobsync.clock default values",
        "delete from jobsync.clock",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            story.owner(statement)


def test_the_program_may_use_all_tables_but_clock_and_ledger_only_to_read(story: Story) -> None:
    wrong = names(
        story,
        f"select c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where {OURS} and c.relkind in ('r', 'v') and not "
        "has_table_privilege('jobsync_app', c.oid, 'SELECT')",
    )
    assert wrong == []
    assert story.refusal("delete from jobsync.migrations").sqlstate == "42501"


def test_a_dump_by_the_owner_restores_into_a_database_that_works_on(
    committed_story: Story, dsn: str, empty_dsn: str, psql: Program, pg_dump: Program
) -> None:
    committed_story.hook()
    committed_story.page(job(1), job(2))
    committed_story.upsert((job(3), {"customerId": 603, "firstName": "Ada"}))
    psql(empty_dsn, script=pg_dump(dsn))
    report = anyio.run(migrate, empty_dsn)
    assert report.applied == ()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        assert connection.execute("select count(*) from public.jobs").fetchone() == (3,)
        assert connection.execute("select count(*) from jobsync.outbox").fetchone() == (3,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("update jobsync.clock set shift = '1 day'")
        connection.execute("select set_config('role', 'jobsync_app', false)")
        assert connection.execute("select count(*) from public.jobs").fetchone() == (0,)


def test_the_reading_role_sees_every_tenant_changes_nothing_and_reaches_no_credential(story: Story) -> None:
    story.owner("insert into jobsync.tenants (tenant_id, name) values ('other', 'Other')")
    story.hook(SALES)
    story.page(job(1))
    story.owner("insert into public.jobs (tenant_id, st_job_id) values ('other', 2)")
    role = story.owner("select rolsuper, rolbypassrls, rolcanlogin from pg_roles where rolname = 'jobsync_readonly'")
    assert set(role[0].values()) == {False}
    rights = story.owner(
        f"select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where {OURS} and c.relkind in ('r', 'v') "
        "and has_table_privilege('jobsync_readonly', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
    )
    assert rights == []
    assert read_as(story, "select st_job_id from public.jobs order by 1") == [{"st_job_id": 1}, {"st_job_id": 2}]
    views = names(
        story,
        f"select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where {OURS} and c.relkind = 'v'",
    )
    for view in views:
        read_as(story, f"select * from {view} limit 1")
    readable = names(
        story,
        "select a.attrelid::regclass || '.' || a.attname as name from pg_attribute a join pg_class c on c.oid = a.attrelid and c.relkind = 'r' "
        "where c.relnamespace = 'jobsync'::regnamespace and a.attnum > 0 and not a.attisdropped and has_column_privilege('jobsync_readonly', c.oid, a.attname, 'SELECT') "
        "and (a.attname ~ 'sealed|password|secret|fingerprint' or a.attname in ('token_hash', 'key', 'totp'))",
    )
    assert readable == [], "nothing that opens a door"
    assert "permission denied" in refuse_as(story, "select 1 from jobsync.connections")
    assert "permission denied" in refuse_as(story, "select sealed from jobsync.destinations")


def read_as(story: Story, statement: str) -> list[dict[str, object]]:
    """What the reading role is answered."""
    with story.connection.transaction(force_rollback=True):
        story.connection.execute("grant jobsync_readonly to current_user")
        story.connection.execute("set local role jobsync_readonly")
        return story.connection.execute(statement.encode()).fetchall()


def refuse_as(story: Story, statement: str) -> str:
    """Why the reading role is refused."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
        read_as(story, statement)
    return str(refused.value)
