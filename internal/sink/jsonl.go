package sink

import (
	"io"

	"tandem"
)

// JSONL writes one JSON line for each item; AppendLine is its format.
type JSONL struct{ records }

// Open makes a JSONL sink at path; "-" is stdout.
func Open(path string, stdout io.Writer) (*JSONL, error) {
	r, err := open(path, stdout)
	if err != nil {
		return nil, err
	}
	return &JSONL{r}, nil
}

// Write is tandem.Sink's.
func (s *JSONL) Write(ended []*tandem.Task) (int, error) {
	return s.write(ended, func(b []byte, t *tandem.Task) ([]byte, error) { return AppendLine(b, t), nil })
}

// Forget is tandem.Resumer's.
func (s *JSONL) Forget(ids func(id string) bool) error {
	return s.forget(ids, false, func(_ int, line []byte) (string, bool, error) {
		id, _, err := lineID(line)
		return id, true, err
	})
}

var _ tandem.Resumer = (*JSONL)(nil)
