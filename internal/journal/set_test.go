package journal

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestSetIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, model := newSet(), map[key]byte{}
		narrow := rapid.Bool().Draw(t, "narrow") // keys that crowd in one place, also at the very end
		word := rapid.Uint64()
		if narrow {
			word = rapid.OneOf(rapid.Uint64Range(1, 40), rapid.Uint64Range(1<<64-40, 1<<64-1))
		}
		for range rapid.IntRange(0, 600).Draw(t, "puts") {
			k := key{word.Draw(t, "hi") | 1, word.Draw(t, "lo") &^ codeMask}
			code := byte(rapid.IntRange(0, codeMask).Draw(t, "code"))
			old, had := s.put(k, code)
			if was, ok := model[k]; ok != had || was != old {
				t.Fatalf("put %x: had %v %v, want %v %v", k, old, had, was, ok)
			}
			model[k] = code
		}
		for k, want := range model {
			if code, ok := s.get(k); !ok || code != want {
				t.Fatalf("get %x: %v %v, want %v", k, code, ok, want)
			}
			other := key{k.hi + 2, k.lo}
			if _, ok := s.get(other); ok != func() bool { _, ok := model[other]; return ok }() {
				t.Fatalf("get %x: %v", other, ok)
			}
		}
	})
}

func TestSetIsSmall(t *testing.T) {
	s := newSet()
	const n = 500_000
	for i := range n {
		if _, had := s.put(keyOf(s, strconv.Itoa(i)), 1); had {
			t.Fatalf("%d was there", i)
		}
	}
	slots := 0
	for i := range s.tables {
		slots += cap(s.tables[i].slots)
	}
	if per := float64(slots) * 16 / n; per > 20.5 {
		t.Errorf("%.1f bytes an item, the package promises about 19", per)
	} else {
		t.Logf("%.1f bytes an item", per)
	}
	if a, b := newSet(), newSet(); keyOf(a, "x") == keyOf(b, "x") {
		t.Error("two sets have one secret")
	}
	if n := testing.AllocsPerRun(100, func() { s.get(keyOf(s, "some/path/of/a/photo-000123.jpg")) }); n != 0 {
		t.Errorf("looking up allocates %v times", n)
	}
}
