//go:build race

package procpool

// raced says that the runtime does not look for deadlocks: the race detector has threads of its own.
const raced = true
