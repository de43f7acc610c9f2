import os, sqlite3, sys, tempfile, time
with tempfile.TemporaryDirectory(dir=".") as d:
    db = sqlite3.connect(os.path.join(d, "t.db"))
    db.execute("create table t (n integer, s text)")
    end = time.time() + 3
    n = int(sys.argv[1])
    while time.time() < end:
        db.execute("insert into t values (?, ?)", (n, "x" * 100))
        db.commit()
        n += 1
