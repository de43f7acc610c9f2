package sink

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem"
)

func failedTask(id, root string, source tandem.Value) *tandem.Task {
	return &tandem.Task{ID: id, Root: root, Source: source, Attempts: 3, Result: tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{On: "up", Kind: "status", Message: "answered 503"}}}
}

// What was kept of a failed item is the item as the source gave it, whatever its bytes.
func TestFailedItemsComeBackAsTheyWere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "failed.jsonl")
	s, err := OpenFailed(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	items := map[string]tandem.Value{
		"a\n\"\xff": tandem.TextValue("/x/a\n\"\xff\u2028"), "7": {Kind: tandem.JSON, Data: []byte(`{"n": 12345678901234567890}`)},
		"b": {Kind: tandem.Bytes, Data: []byte{0, 255}}, "n": {},
	}
	for id, v := range items {
		if n, err := s.Write([]*tandem.Task{failedTask(id, id, v), failedTask(id+"/2", id, v)}); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := ReadFailed(path)
	if err != nil || f.Len() != len(items) {
		t.Fatalf("%d items, %v", f.Len(), err)
	}
	seen := 0
	if err := f.Each(t.Context(), func(id string, v tandem.Value) bool {
		seen++
		if want := items[id]; v.Kind != want.Kind || string(v.Data) != string(want.Data) {
			t.Errorf("%q: %s %q, want %s %q", id, v.Kind, v.Data, want.Kind, want.Data)
		}
		return true
	}); err != nil || seen != len(items) {
		t.Errorf("%d seen, %v", seen, err)
	}
	for id, want := range map[string]bool{"b": true, "b/1": true, "b/1/3": true, "b/x": false, "c": false, "b1": false} {
		if f.Has(id) != want {
			t.Errorf("Has(%q) is %v", id, !want)
		}
	}
}

func TestADamagedFailureFileIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "failed.jsonl")
	whole := string(appendFailed(nil, failedTask("a", "a", tandem.TextValue("x"))))
	for _, line := range []string{"", "{}", `{"id":"a"}`, whole[:len(whole)/2], strings.Replace(whole, `"text"`, `"pickle"`, 1)} {
		if err := os.WriteFile(path, []byte(whole+line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFailed(path); err == nil || !strings.Contains(err.Error(), path+":2") {
			t.Errorf("%q: %v", line, err)
		}
	}
}
