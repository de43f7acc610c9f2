package inside

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tandem/internal/advise"
)

const dump = `4711:
"main" #1 [12] prio=5 os_prio=0 cpu=90.1ms elapsed=5.1s tid=0x7f nid=12 waiting on condition  [0x7f]
   java.lang.Thread.State: TIMED_WAITING (sleeping)
	at java.lang.Thread.sleep(java.base@25/Native Method)
	at Bank.pay(Bank.java:10)
	- locked <0x1> (a java.lang.Object)

"worker" #2 [13] prio=5 os_prio=0 cpu=1ms elapsed=5.1s tid=0x7f nid=13 waiting for monitor entry  [0x7f]
   java.lang.Thread.State: BLOCKED (on object monitor)
	at Bank.pay(Bank.java:10)
	- waiting to lock <0x1> (a java.lang.Object)

"Reference Handler" #9 daemon prio=10 nid=20 waiting on condition [0x7f]
   java.lang.Thread.State: RUNNABLE
	at java.lang.ref.Reference.waitForReferencePendingList(java.base@25/Native Method)
`

func TestThreadDumps(t *testing.T) {
	i := &Inside{dumps: []string{dump, dump}}
	got := i.threadDumps()
	want := tally{{"Bank.pay", "Bank.java:10", "waits"}: 2, {"Bank.pay", "Bank.java:10", "waits for the monitor of a java.lang.Object"}: 2}
	if len(got) != 2 || got[place{"Bank.pay", "Bank.java:10", "waits"}] != 2 || got[place{"Bank.pay", "Bank.java:10", "waits for the monitor of a java.lang.Object"}] != 2 {
		t.Errorf("%v, want %v", got, want)
	}
}

// The user's own settings stay, and what the runtimes wrote is read, also when a file is damaged.
func TestFiles(t *testing.T) {
	i, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Join(i.Env([]string{"PYTHONPATH=/mine", "NODE_OPTIONS=--no-warnings"}), "\n")
	if !strings.Contains(env, ":/mine") || !strings.Contains(env, "--no-warnings --require=") {
		t.Error(env)
	}
	for name, text := range map[string]string{"python-1.json": `[["f","a.py:1","runs",3],["g","a.py:9","waits",1]]`, "python-2.json": `[["f","a.py:1",`, "python-3.json": `[[1,2,3,"x"]]`,
		"1-0.cpuprofile": `{"nodes":[{"hitCount":5,"callFrame":{"functionName":"(root)"}},{"hitCount":4,"callFrame":{"functionName":"work","url":"file:///x/a.js","lineNumber":6}}]}`} {
		if err := os.WriteFile(filepath.Join(i.out(), name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, notes := i.Functions([]string{"go", "python"})
	if !slices.Contains(all, advise.Function{Runtime: "python", Name: "f", At: "a.py:1", State: "runs", Share: .75, Looks: 3}) ||
		!slices.Contains(all, advise.Function{Runtime: "node", Name: "work", At: "a.js:7", State: "runs", Share: 1, Looks: 4}) || len(notes) != 1 || !strings.Contains(notes[0], "Go program") {
		t.Errorf("%+v %v", all, notes)
	}
}
