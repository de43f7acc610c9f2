package proc

import (
	"bytes"
	"os"
	"strconv"
)

// Exiting asks the kernel whether the process is on its way out; its memory may still be there, and its exit not known.
func (p *Process) Exiting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/stat")
	if err != nil {
		return false
	}
	const exiting, flags = 4, 6 // PF_EXITING; the field, counted behind the name, which may hold anything
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= flags {
		return false
	}
	n, err := strconv.ParseUint(string(fields[flags]), 10, 64)
	return err == nil && n&exiting != 0
}
