import json,time,psycopg
from tests.sql.test_store_activity import VISIT,INVOICE,ESTIMATE
def test_perf(dsn):
    with psycopg.connect(dsn, autocommit=True) as c:
        c.execute("select set_config('jobsync.tenant','default',false)")
        for s,r in (("appointments",VISIT),("invoices",INVOICE),("estimates",ESTIMATE)):
            for kind,mod in (("new","2026-03-01T10:00:00.1234567Z"),("changed","2026-03-02T10:00:00.1234567Z"),("same","2026-03-02T10:00:00.1234567Z")):
                for p in range(2):
                    page=json.dumps([{**r,"id":10**6+p*5000+n,"modifiedOn":mod} for n in range(5000)])
                    t=time.time(); print(s,kind,c.execute("select jobsync.store_page('default',%s,%s::jsonb)",(s,page)).fetchone()[0]['stored'],round(time.time()-t,2))
