package proc

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// moves looks at a process for so long and tells whether it gets on: it wants a processor, or has given one back meanwhile. One that is stopped, or waits all the
// time for the same thing, does not.
func moves(pid int, look time.Duration) bool {
	state, before := switches(pid)
	if state == 'R' {
		time.Sleep(look)
		return true
	}
	time.Sleep(look)
	state, after := switches(pid)
	return state == 'R' || after > before
}

// switches is the state of a process in one letter, 0 when it is gone, and how often it has given its processor back.
func switches(pid int) (state byte, n int64) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, 0
	}
	if _, rest, ok := bytes.Cut(b, []byte("\nState:\t")); ok {
		state = rest[0]
	}
	for _, name := range []string{"\nvoluntary_ctxt_switches:\t", "\nnonvoluntary_ctxt_switches:\t"} {
		if _, rest, ok := bytes.Cut(b, []byte(name)); ok {
			digits, _, _ := bytes.Cut(rest, []byte("\n"))
			k, _ := strconv.ParseInt(string(digits), 10, 64) // 0 where it is no number
			n += k
		}
	}
	return state, n
}
