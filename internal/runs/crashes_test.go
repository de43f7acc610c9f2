package runs

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"tandem"
)

func TestCrashReportsAreKeptAndCounted(t *testing.T) {
	root := t.TempDir()
	d, err := Create(root, Run{Flow: "/f.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	deaths := func() Deaths {
		t.Helper()
		all, _, err := List(root)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		got, err := all[0].Deaths()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := deaths(); len(got.Crashes) != 0 || got.NotKept != 0 {
		t.Errorf("before the first: %+v", got)
	}
	c := d.Crashes()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 10 {
				if err := c.Keep(tandem.Crash{Item: fmt.Sprint(i, "/", n), Reason: tandem.ExitSignal, Stack: &tandem.Stack{Text: "x"}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := deaths()
	seen := map[string]bool{}
	for i, c := range got.Crashes {
		if c.ID != fmt.Sprintf("%04d", i+1) || c.Stack == nil {
			t.Errorf("%d: %+v", i, c)
		}
		seen[c.Item] = true
	}
	if len(seen) != 40 {
		t.Errorf("%d items", len(seen))
	}
	info, err := os.Stat(filepath.Join(d.Path(), "crashes", "0001.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}

	// A resumed run goes on behind them, up to the bound.
	if err := os.WriteFile(filepath.Join(d.Path(), "crashes", "0999.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Crashes{d.Crashes(), d.Crashes()} {
		for range 2 {
			if err := c.Keep(tandem.Crash{Item: "late"}); err != nil {
				t.Error(err)
			}
		}
	}
	if got = deaths(); len(got.Crashes) != 41 || got.NotKept != 3 || len(got.Strange) != 1 || got.Crashes[40].ID != "1000" {
		t.Errorf("%d reports, %d not kept, %v", len(got.Crashes), got.NotKept, got.Strange)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCrashReportsThatCannotBeKept(t *testing.T) {
	d, err := Create(t.TempDir(), Run{Flow: "/f.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := os.WriteFile(filepath.Join(d.Path(), "crashes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Crashes().Keep(tandem.Crash{}); err == nil {
		t.Error("kept in a file that is no directory")
	}
}
