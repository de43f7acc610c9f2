package proc

import (
	"slices"
	"testing"
)

func TestBudgetLeavesWhatIsSet(t *testing.T) {
	for _, c := range []struct {
		env  []string
		n    int
		want []string
	}{
		{nil, 0, nil},
		{[]string{"A=1"}, -1, nil},
		{[]string{"OMP_NUM_THREADS=8", "GOMAXPROCS=", "XMKL_NUM_THREADS=1", "MKL_NUM_THREADSX=1"}, 2,
			[]string{"OPENBLAS_NUM_THREADS=2", "MKL_NUM_THREADS=2", "NUMEXPR_NUM_THREADS=2", "VECLIB_MAXIMUM_THREADS=2", "RAYON_NUM_THREADS=2"}},
	} {
		if got := Budget(c.env, c.n); !slices.Equal(got, c.want) {
			t.Errorf("Budget(%q, %d) = %q, want %q", c.env, c.n, got, c.want)
		}
	}
}
