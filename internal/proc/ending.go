package proc

import (
	"bytes"
	"os"
	"strconv"
)

// exiting is the kernel's flag of a process that is being taken down (PF_EXITING).
const exiting = 0x4

// Ending tells whether the kernel is taking the program down, or has done so: its descriptors may be closed long before anybody hears of its end.
func (p *Process) Ending() bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
	if err != nil {
		return true
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 7 {
		return false
	}
	flags, _ := strconv.ParseUint(string(f[6]), 10, 64)
	return f[0][0] == 'Z' || f[0][0] == 'X' || flags&exiting != 0
}
