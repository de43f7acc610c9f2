//go:build !amd64 && !arm64

package proc

// There is no filter for this machine: auditArch is no convention, and compile is not called.
const (
	auditArch    = 0
	firstForeign = 0
	cloneFlags   = 0
)

var forks, forbiddenHere []int
