package live

import (
	"testing"
	"time"
)

func BenchmarkLogAdd(b *testing.B) {
	l, err := OpenLog(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	r := Record{Time: time.Now(), Origin: "thumb/1", Stream: 2, Text: "a line that a handler has printed, of a usual length"}
	for b.Loop() {
		l.Add(r)
	}
}

// With nobody who follows.
func BenchmarkFeedAdd(b *testing.B) {
	var f Feed
	r := Record{Text: "x"}
	for b.Loop() {
		f.Add(r)
	}
}
