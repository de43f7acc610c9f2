//go:build !amd64 && !arm64

package evidence

// syscalls is empty where the numbers are not known: reports show them as they are.
var syscalls = map[int]string{}
