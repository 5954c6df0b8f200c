import time, os
import anyio
from tests.simulation.postgres import Home
from tests.simulation.world import World
from tests.simulation.mutants import MUTANTS, planted
def test_m(dsn):
    home=Home(dsn); anyio.run(home.open)
    n=int(os.environ.get("N","10")); only=os.environ.get("M","")
    for m in MUTANTS:
        if only and only not in m.name: continue
        t=time.time(); found=None
        try:
          for seed in range(int(os.environ.get("S","0")), n):
            with planted(m,home):
                f=World(seed,home,**m.forced).run()
            if f: found=(seed,f[:2]); break
        except Exception as e:
            import traceback; traceback.print_exc(); found=repr(e)
        print(m.name,"->",found,"%.0fs"%(time.time()-t), flush=True)
    home.close()
