"""The Never list of the architecture, held against every file; and each rule against a planted break of it."""

from __future__ import annotations

import pytest

from tests.house import imports, leaks, pages, sizes, sql_text, state, transactions
from tests.house.tree import Rule, SourceFile, read_checkout

RULES: tuple[Rule, ...] = (
    imports.check_imports,
    sql_text.check_no_sql_text,
    sql_text.check_no_glued_statements,
    sql_text.check_no_call_unfolded,
    sql_text.check_commits,
    transactions.check_nothing_sent_inside,
    state.check_no_module_state,
    state.check_clock,
    state.check_sql_clock,
    state.check_async_only,
    sizes.check_size,
    sizes.check_name,
    leaks.check_no_registry,
    leaks.check_no_machine_path,
    leaks.check_no_secret,
    leaks.check_invented_people,
    pages.check_no_raw_markup,
)
ENGINE, WEB, CLI = "src/jobsync/engine/pull.py", "src/jobsync/web/app.py", "src/jobsync/cli/units.py"

BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (imports.check_imports, ENGINE, "from jobsync.web.app import build"),
    (imports.check_imports, ENGINE, "from jobsync import cli"),
    (imports.check_imports, ENGINE, "import jobsync.simulators.servicetitan"),
    (imports.check_imports, ENGINE, "def later():\n    from ..tasks import queue"),
    (imports.check_imports, "src/jobsync/errors.py", "from jobsync.config import Settings"),
    (imports.check_imports, "src/jobsync/servicetitan/client.py", "from jobsync.gohighlevel import payloads"),
    (imports.check_imports, "src/jobsync/servicetitan/client.py", "from jobsync.db.pool import Database"),
    (imports.check_imports, "src/jobsync/gohighlevel/client.py", "from jobsync.engine import pull"),
    (imports.check_imports, "src/jobsync/simulators/servicetitan/app.py", "from jobsync.errors import InvalidInput"),
    (imports.check_imports, "src/jobsync/simulators/servicetitan/app.py", "from ...servicetitan import streams"),
    (imports.check_imports, WEB, "import psycopg"),
    (imports.check_imports, "src/jobsync/attic/thing.py", ""),
    (sql_text.check_no_sql_text, ENGINE, "QUERY = 'select id from jobs where tenant_id = %s'"),
    (sql_text.check_no_sql_text, ENGINE, 'QUERY = """\n  -- why\n  UPDATE jobs SET total = 1\n"""'),
    (sql_text.check_no_sql_text, ENGINE, "QUERY = f'delete from {table}'"),
    (sql_text.check_no_sql_text, ENGINE, "QUERY = b'with due as (select 1) select * from due'"),
    (sql_text.check_no_sql_text, ENGINE, "QUERY = 'select jobsync.store_page(%s)'"),
    (sql_text.check_no_sql_text, "src/jobsync/db/pool.py", "c.execute('set local role jobsync_app')"),
    (sql_text.check_no_glued_statements, ENGINE, "await c.execute(f'{verb} x')"),
    (sql_text.check_no_glued_statements, ENGINE, "await c.execute(text % name)"),
    (sql_text.check_no_glued_statements, ENGINE, "await c.execute(text + name)"),
    (sql_text.check_no_glued_statements, ENGINE, "await c.execute('{}'.format(name))"),
    (sql_text.check_no_glued_statements, ENGINE, "await c.execute(SQL(f'{verb} x'))"),
    (sql_text.check_no_call_unfolded, "src/jobsync/sql/queries/a.sql", "select (jobsync.read_cursor(%(t)s, 'x')).*;"),
    (sql_text.check_commits, ENGINE, "await connection.commit()"),
    (sql_text.check_commits, ENGINE, "await psycopg.AsyncConnection.connect(dsn)"),
    (sql_text.check_commits, WEB, "pool = AsyncConnectionPool(dsn)"),
    (sql_text.check_commits, ENGINE, "await connect(dsn, autocommit=True)"),
    (
        transactions.check_nothing_sent_inside,
        ENGINE,
        "async def f():\n    async with db.transaction(t) as s:\n        page = await engine.client.page(stream)",
    ),
    (
        transactions.check_nothing_sent_inside,
        ENGINE,
        "async def f():\n    async with db.transaction(t):\n        if x:\n            async with http.post(u): pass",
    ),
    (
        transactions.check_nothing_sent_inside,
        ENGINE,
        "from jobsync.gohighlevel.webhook import send\n"
        "async def f():\n    async with db.transaction(t):\n        await send(url)",
    ),
    (
        transactions.check_nothing_sent_inside,
        ENGINE,
        "async def f():\n    async with db.transaction(t):\n        await drain.configure(lock=k).defer_async(d=1)",
    ),
    (state.check_no_module_state, ENGINE, "session = aiohttp.ClientSession()"),
    (state.check_no_module_state, ENGINE, "settings: Settings = read_settings()"),
    (state.check_no_module_state, WEB, "app = FastAPI()"),
    (state.check_no_module_state, ENGINE, "if True:\n    POOL = [AsyncConnectionPool(x)]"),
    (state.check_no_module_state, ENGINE, "class A:\n    db = Database('x')"),
    (state.check_no_module_state, ENGINE, "KEY = os.environ['API_KEY']"),
    (state.check_no_module_state, ENGINE, "def f():\n    global pool"),
    (state.check_clock, ENGINE, "at = datetime.now(UTC)"),
    (state.check_clock, ENGINE, "at = datetime.datetime.now(UTC)"),
    (state.check_clock, ENGINE, "at = time.time()"),
    (state.check_clock, ENGINE, "f(clock=time.time)"),
    (state.check_clock, CLI, "now = datetime.now(UTC)  # real clock:"),
    (state.check_sql_clock, "src/jobsync/sql/schema/30.sql", "insert into a\nvalues (now());"),
    (
        state.check_sql_clock,
        "src/jobsync/sql/schema/30.sql",
        "create table a (b timestamptz default current_timestamp);",
    ),
    (
        state.check_sql_clock,
        "src/jobsync/sql/schema/30.sql",
        "create function jobsync.now() returns timestamptz language sql as $$ select now() $$;\nselect now();",
    ),
    (state.check_sql_clock, "src/jobsync/sql/queries/a.sql", "update jobs set updated_at = clock_timestamp();"),
    (state.check_sql_clock, "src/jobsync/sql/queries/a.sql", "update access_tokens set expires_at = now();"),
    (state.check_async_only, ENGINE, "import requests"),
    (state.check_async_only, ENGINE, "from urllib.request import urlopen"),
    (state.check_async_only, ENGINE, "time.sleep(1)"),
    (state.check_async_only, ENGINE, "with psycopg.connect(dsn): pass"),
    (sizes.check_size, ENGINE, "x = 1\n" * 601),
    (sizes.check_size, "src/jobsync/sql/schema/30.sql", "select 1;\n" * 501),
    (sizes.check_size, "tests/engine/test_pull.py", "x = 1\n" * 601),
    (sizes.check_name, "src/jobsync/engine/utils.py", ""),
    (sizes.check_name, "src/jobsync/engine/date_helpers.py", ""),
    (sizes.check_name, "src/jobsync/web/session_manager.py", ""),
    (sizes.check_name, "tests/helpers/rows.py", ""),
    (leaks.check_no_registry, "requirements/x.txt", "--index-url https://" + "py" + "pi.org/simple"),
    (leaks.check_no_registry, "docs/a.md", "from https://mirror.example.com/" + "simple/aiohttp"),
    (leaks.check_no_registry, "package-lock.json", "https://registry.npm" + "js.org/htmx"),
    (leaks.check_no_machine_path, "docs/a.md", "see /wo" + "rk/main/x"),
    (leaks.check_no_machine_path, "Makefile", "PY = /ro" + "ot/.pyenv/bin/python"),
    (leaks.check_no_machine_path, "docs/a.md", "cd /ho" + "me/ann/jobsync"),
    (leaks.check_no_machine_path, "src/jobsync/x.py", "# see ../shar" + "ed/contracts"),
    (leaks.check_no_secret, "deploy/k.pem", "-----BEGIN RSA PRIVATE " + "KEY-----"),
    (leaks.check_no_secret, ".env.example", "GHL_API_KEY=pit-1a2b3c4d-1111-2222-3333-4444" + "55556666"),
    (leaks.check_no_secret, ENGINE, "'xoxb" + "-123456789012-abcdefghij'"),
    (leaks.check_invented_people, "tests/engine/test_pull.py", "email = 'ann@gm" + "ail.com'"),
    (pages.check_no_raw_markup, "src/jobsync/web/dashboard/templates/a.html", "<b>{{ name|safe }}</b>"),
    (pages.check_no_raw_markup, "src/jobsync/web/dashboard/static/a.js", "x.innerHTML = name"),
    (pages.check_no_raw_markup, WEB, "return Markup(f'<b>{name}</b>')"),
    (pages.check_no_raw_markup, WEB, "Environment(autoescape=False)"),
)

FINE: tuple[tuple[Rule, str, str], ...] = (
    (
        imports.check_imports,
        ENGINE,
        "from jobsync.db.pool import Database\nfrom jobsync.servicetitan.client import page",
    ),
    (imports.check_imports, CLI, "from jobsync.simulators.servicetitan import app\nfrom jobsync.web import app as web"),
    (imports.check_imports, "src/jobsync/simulators/gohighlevel/a.py", "from jobsync.simulators.gohighlevel import b"),
    (imports.check_imports, "src/jobsync/servicetitan/client.py", "from jobsync.errors import RateLimited"),
    (sql_text.check_no_sql_text, ENGINE, '"""select a from b"""\nhint = "Select a unit from the list"'),
    (sql_text.check_no_sql_text, ENGINE, 'hint = "Ask its owner to run: GRANT CREATE ON SCHEMA public TO x"'),
    (sql_text.check_no_sql_text, "tests/sql/test_a.py", "'select 1 from jobs'"),
    (sql_text.check_no_glued_statements, ENGINE, "await c.execute(get_query('due'), {'a': f'{b}'})"),
    (sql_text.check_no_call_unfolded, "src/jobsync/sql/queries/a.sql", "select (c.row).*, x.* from f(1) c, g(c.id) x"),
    (sql_text.check_commits, "src/jobsync/db/pool.py", "await connection.commit()"),
    (
        transactions.check_nothing_sent_inside,
        ENGINE,
        "async def f():\n    page = await client.page(x)\n    async with db.transaction(t) as s:\n"
        "        await s.run('store')\n"
        "    await drain.defer_async(d=1)",
    ),
    (state.check_no_module_state, ENGINE, "PATTERN = re.compile('x')\ndef f():\n    return aiohttp.ClientSession()"),
    (state.check_clock, ENGINE, "started = time.monotonic()"),
    (state.check_clock, CLI, "now = datetime.now(UTC)  # real clock: the simulated upstream's, not stored"),
    (
        state.check_sql_clock,
        "src/jobsync/sql/schema/30.sql",
        "create or replace function jobsync.now() returns timestamptz language sql as $$ select now(); $$;\n"
        "-- now() is not ours\nselect jobsync.now();",
    ),
    (
        state.check_sql_clock,
        "src/jobsync/sql/queries/a.sql",
        "update access_tokens set expires_at = clock_timestamp();",
    ),
    (sizes.check_size, "job-sync-schema.sql", "select 1;\n" * 5000),
    (sizes.check_name, "src/jobsync/engine/commonly_asked.py", ""),
    (leaks.check_no_registry, "Makefile", "uv pip compile --no-emit-index" + "-url"),
    (leaks.check_no_machine_path, "docs/a.md", "https://example.com/work/1 and ./work/1"),
    (leaks.check_no_secret, "tests/a.py", "pit-00000000-0000-0000-0000-000000000000"),
    (leaks.check_invented_people, "tests/a.py", "'jo@example.com' 'al@mail.jobs.test' @pytest.fixture"),
    (pages.check_no_raw_markup, "src/jobsync/web/dashboard/static/vendor/htmx.js", "x.innerHTML = y"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("check_"))
def test_the_house_keeps_its_rules(rule: Rule) -> None:
    broken = [str(found) for file in read_checkout() for found in rule(file)]
    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_a_planted_break_is_found(rule: Rule, path: str, text: str) -> None:
    assert list(rule(SourceFile(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), FINE)
def test_what_is_allowed_is_left_alone(rule: Rule, path: str, text: str) -> None:
    assert not [str(found) for found in rule(SourceFile(path, text))]


def test_every_rule_has_a_planted_break() -> None:
    assert set(RULES) == {rule for rule, _, _ in BROKEN}
