package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestVersionIsAskedForInEitherWay(t *testing.T) {
	var said []string
	for _, args := range [][]string{{"version"}, {"--version"}, {"-v"}} {
		var out, bad bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: &bad}
		if code := a.main(args); code != exitOK || bad.Len() > 0 {
			t.Errorf("%q: exit code %d, %s", args, code, bad.String())
		}
		said = append(said, out.String())
	}
	if !strings.HasPrefix(said[0], "tandem ") || said[1] != said[0] || said[2] != said[0] {
		t.Errorf("%q", said)
	}
}
