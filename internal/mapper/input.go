package mapper

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"tandem"
)

const (
	readAtOnce = 64 << 10
	maxInput   = 1 << 20 // one input; the system takes 128 KiB in one argument
)

// Inputs gives the inputs in portions: what one read of the stream held. A portion is read when the one before has been handed on, so no more than two
// are in memory. Bytes stay as they are, also a carriage return before the line end; the last input needs no separator behind it.
func Inputs(name string, r io.Reader, separator byte) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		buf := make([]byte, 0, readAtOnce)
		var portion []string
		for n := 0; ; {
			if len(buf) == cap(buf) {
				buf = append(make([]byte, 0, 2*cap(buf)), buf...)
			}
			k, err := r.Read(buf[len(buf):cap(buf)])
			buf = buf[:len(buf)+k]
			portion = portion[:0:0] // the one before belongs to the reader now
			rest := buf
			for {
				line, after, found := bytes.Cut(rest, []byte{separator})
				if !found {
					break
				}
				portion, rest = append(portion, string(line)), after
			}
			if err != nil && len(rest) > 0 && errors.Is(err, io.EOF) {
				portion, rest = append(portion, string(rest)), nil
			}
			n += len(portion)
			buf = append(buf[:0], rest...)
			if len(portion) > 0 && !yield(portion, nil) {
				return
			}
			if len(buf) > maxInput {
				yield(nil, &tandem.Error{Op: "read", On: name, Kind: tandem.KindSource, Message: fmt.Sprintf("input %d is longer than %d KiB", n+1, maxInput>>10),
					Hint: "inputs are lines; -0 reads inputs that end with a zero byte"})
				return
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, &tandem.Error{Op: "read", On: name, Kind: tandem.KindSource, Message: err.Error(), Err: err})
				return
			}
		}
	}
}

// List gives inputs that are known already.
func List(inputs []string) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		if len(inputs) > 0 {
			yield(inputs, nil)
		}
	}
}
