package journal

import (
	"bytes"
	"testing"
)

// FuzzRead reads any bytes: as a file, as what follows a good header, or as the body of a frame whose checksums are right.
func FuzzRead(f *testing.F) {
	// A salt that stays the same, so that what was found once is found again.
	salt := []byte("salt salt salt s")
	header := appendHeader(nil, Header{Flow: "fuzz"}, salt)
	whole := header
	random, truths := small(f, false)
	for i, end := range truths[1:] {
		body := random[truths[i].size+headSize : end.size]
		frame := append(make([]byte, headSize), body...)
		sealHead(frame, saltSum(salt), int64(len(whole)), int64(len(whole)))
		whole = append(whole[:len(whole):len(whole)], frame...)
		f.Add(body, byte(2))
	}
	f.Add(whole, byte(0))
	f.Add(whole[:len(whole)-1], byte(0))
	f.Add(header, byte(0))
	f.Add(whole[len(header):], byte(1))
	f.Fuzz(func(t *testing.T, data []byte, how byte) {
		file := data
		switch how % 3 {
		case 1:
			file = append(bytes.Clone(header), data...)
		case 2:
			frame := append(make([]byte, headSize), data...)
			sealHead(frame, saltSum(salt), int64(len(header)), 0)
			file = append(bytes.Clone(header), frame...)
		}
		s, err := read("journal", bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		if s.end > int64(len(file)) || s.Position < 0 {
			t.Fatalf("end %d of %d, position %d", s.end, len(file), s.Position)
		}
		total := int64(0)
		for _, n := range s.Counts {
			if n < 0 {
				t.Fatalf("counts %v", s.Counts)
			}
			total += n
		}
		if how%3 == 2 {
			for r := (records{b: data}); r.next(); {
				if list, err := s.Finished(string(r.id)); err != nil || s.Has(string(r.id)) && r.kind != recStep && len(list) > 0 && total == 0 {
					t.Fatalf("%q: %v, %v", r.id, list, err)
				}
			}
		}
		// What was read reads the same once the torn end is cut off.
		again, err := read("journal", bytes.NewReader(file[:s.end]), s.end)
		if err != nil || says(t, again) != says(t, s) {
			t.Fatalf("after the cut: %v", err)
		}
	})
}
