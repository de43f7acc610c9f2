//go:build !race

package procpool

const raced = false
