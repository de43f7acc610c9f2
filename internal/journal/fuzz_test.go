package journal

import (
	"bytes"
	"testing"
)

// FuzzRead reads any bytes: as a file, as what follows a good header, or as the body of a frame whose checksums are right.
func FuzzRead(f *testing.F) {
	whole, truths := small(f, false)
	begin := int(truths[0].size)
	f.Add(whole, byte(0))
	f.Add(whole[:begin], byte(0))
	f.Add(whole[begin:], byte(1))
	f.Add(whole[begin+headSize:truths[1].size], byte(2))
	f.Add(whole[truths[2].size+headSize:truths[3].size], byte(2))
	salt := whole[fixedSize-4-saltSize : fixedSize-4]
	f.Fuzz(func(t *testing.T, data []byte, how byte) {
		file := data
		switch how % 3 {
		case 1:
			file = append(bytes.Clone(whole[:begin]), data...)
		case 2:
			frame := append(make([]byte, headSize), data...)
			sealHead(frame, saltSum(salt), int64(begin), 0)
			file = append(bytes.Clone(whole[:begin]), frame...)
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
