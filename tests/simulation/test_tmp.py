import time, collections, os, sys
import anyio
from tests.simulation.postgres import Home
from tests.simulation.world import World
def test_x(dsn):
    home=Home(dsn); anyio.run(home.open)
    a,b=[int(x) for x in os.environ.get("R","0-3").split("-")]
    kinds=collections.Counter(); t0=time.time()
    for seed in range(a,b):
        t=time.time(); c=time.process_time()
        import cProfile,pstats; pr=cProfile.Profile(time.process_time) if os.environ.get("P") else None
        if pr: pr.enable()
        w=World(seed,home); f=w.run()
        if pr: pr.disable(); pstats.Stats(pr).sort_stats("tottime").print_stats(16)
        print(seed, "%.2fs cpu %.2f"%(time.time()-t,time.process_time()-c), w.points, w.loop.steps, w.crashes, "%.0f"%w.loop.time(), w.trace[:8], f[:4])
        for x in f: kinds[x[:34]]+=1
        if os.environ.get("V"): print("\n".join(w.events))
    print(kinds.most_common(20)); print((time.time()-t0)/(b-a),"s/seed")
    home.close()
