//go:build race

package proc

// raced says that the test binary has the memory of the race detector.
const raced = true
