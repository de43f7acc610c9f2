package proc

import (
	"slices"
	"strconv"
	"strings"
)

// budgetNames are the variables by which numeric libraries and runtimes are told how many threads to start.
var budgetNames = []string{"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS", "GOMAXPROCS"}

// Budget is what to add to env so that a process in it starts n threads of each kind rather than one for each core of the machine. What env sets
// stays as it is. Nothing when n is zero.
func Budget(env []string, n int) []string {
	if n <= 0 {
		return nil
	}
	var add []string
	for _, name := range budgetNames {
		if !slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") }) {
			add = append(add, name+"="+strconv.Itoa(n))
		}
	}
	return add
}
