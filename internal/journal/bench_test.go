package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"tandem"
)

func photo(i int) string { return fmt.Sprintf("photos/2026/%07d.jpg", i) }

// BenchmarkSteps is the cost of one step record of 100 bytes to whoever notes it; the file is written beside it.
func BenchmarkSteps(b *testing.B) {
	for _, batch := range []int{1, 16} {
		b.Run(fmt.Sprint("batch", batch), func(b *testing.B) {
			j, err := Create(filepath.Join(b.TempDir(), "journal"), Header{}, Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			var list []Finished
			for i := range batch {
				list = append(list, Finished{Item: photo(i), Step: 1, Values: []tandem.Value{{Kind: tandem.JSON, Data: bytes.Repeat([]byte("x"), 100)}}})
			}
			b.ReportAllocs()
			for i := 0; i < b.N; i += batch {
				j.Steps(list)
			}
		})
	}
}

// BenchmarkEnded is the cost of one ended item, in transactions of 1 and 64.
func BenchmarkEnded(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprint("batch", batch), func(b *testing.B) {
			j, err := Create(filepath.Join(b.TempDir(), "journal"), Header{}, Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			var list []*tandem.Task
			for i := range batch {
				list = append(list, tasks(tandem.OK, photo(i))...)
			}
			b.ReportAllocs()
			for i := 0; i < b.N; i += batch {
				if err := j.Ended(list, nil, int64(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkResume reads a journal of a million items with two steps each, and asks for each of them once.
func BenchmarkResume(b *testing.B) {
	const n = 1_000_000
	path := filepath.Join(b.TempDir(), "journal")
	j, err := Create(path, Header{}, Config{})
	if err != nil {
		b.Fatal(err)
	}
	value := []tandem.Value{{Kind: tandem.JSON, Data: bytes.Repeat([]byte("x"), 100)}}
	const ahead = 1000 // between two steps
	for i := range n + ahead {
		j.Steps([]Finished{{Item: photo(i), Step: 0, Values: value}, {Item: photo(i), Step: 1, Values: value}})
		if i >= ahead && i%64 == 0 {
			var list []*tandem.Task
			for k := range 64 {
				list = append(list, tasks(tandem.OK, photo(i-ahead+k))...)
			}
			if err := j.Ended(list, nil, int64(i)); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = photo(i)
	}
	var s *State
	b.Run("read", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			var before, after runtime.MemStats
			s = nil
			runtime.GC()
			runtime.ReadMemStats(&before)
			b.StartTimer()
			if j, s, err = Resume(path, Config{}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(s.Counts[tandem.OK]), "B/item")
			b.ReportMetric(float64(info.Size())/1e6, "MB-file")
			j.Close()
			b.StartTimer()
		}
	})
	b.Run("has", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			s.Has(ids[i%n])
		}
	})
}

func BenchmarkKey(b *testing.B) {
	s := newSet()
	id := photo(1)
	for range b.N {
		keyOf(s, id)
	}
}
