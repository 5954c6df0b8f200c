"""The dashboard: pages rendered on the server, under /ui. Without JavaScript everything can be read and done.

How a page is added:

1. Route. A file here, `router = APIRouter(route_class=PageRoute, include_in_schema=False)`, and

       @router.get("/ui/health")
       @seen_by("viewer")                      # anybody, viewer, operator, admin: the lowest role; required
       async def show_health(visit: ThisVisit) -> Response:
           found = await run_doctor(visit.engine, visit.tenant)
           return page(visit, "health.html", title="Health", here="/ui/health", found=found)

   Put the router into `routers.DASHBOARD`. `navigation.ENTRIES` names every page; one is linked as soon as a route has
   its path, and shown to whoever may open it. The tests generate their matrix of roles and forms from the routers.

2. Data. Rows come from engine verbs, or from named statements (`async with visit.transaction() as session`), in a file of
   their own under `sql/queries`; each is asked of big tables by tests/sql/test_plans_no_seq_scan.py. Counts come from
   tallies (decision 3), lists end at a limit and go on by key. A page decides nothing: it calls what the command calls.

3. Template. `templates/NAME.html` extends "base.html" and fills `{% block main %}`; macros stand in "parts.html"
   (`state`, `time`, `form`, `field`, `ask`, `empty`, `table twins`). Everything is escaped; no inline script, no style
   attribute: the policy forbids both. Classes come from `static/app.css`.

4. Acts. A button that needs no question: `{% call form(visit, "/ui/x") %}...{% endcall %}` (macro `form` adds the token)
   and `@router.post("/ui/x")` with `@seen_by("operator")`, fields as `Annotated[str, Form()]`, then
   `return await visit.go("/ui/health", "Tested.")`: the browser goes on, and the next page tells the text once.
   What sends, costs or destroys asks first: macro `ask` links to a GET of the same path, which answers
   `confirm(visit, title=..., facts=[...], action=..., button="Send 12 jobs", ...)`; the script shows that page as a
   dialog, without script it is a page. Bodies of files: `@seen_by("admin", form="upload")`, the token in the query.

5. Errors. Raise the errors of `jobsync.errors`; they are shown as a page that says what happened and what to do.

6. Live. An element with `data-live` and an id is fetched anew when something happened (/ui/events); give it only what may
   change under the reader's eyes without moving what they are about to press.
"""
