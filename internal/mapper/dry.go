package mapper

import (
	"bufio"
	"io"
	"iter"
)

// DryRun prints the commands, quoted for a shell, instead of running them; {%} is 1 in all.
func DryRun(t *Template, inputs iter.Seq2[[]string, error], w io.Writer) error {
	out := bufio.NewWriter(w)
	var argv []string
	seq := int64(0)
	for portion, err := range inputs {
		if err != nil {
			_ = out.Flush() // the input's error says more
			return err
		}
		for _, input := range portion {
			seq++
			argv = t.Expand(argv[:0], input, seq, 0)
			if _, err := out.WriteString(Quote(argv) + "\n"); err != nil {
				return writeError("standard output", err)
			}
		}
		if err := out.Flush(); err != nil { // who types the inputs wants to see
			return writeError("standard output", err)
		}
	}
	return nil
}
