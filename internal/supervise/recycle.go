package supervise

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Recycle says when a worker is replaced though nothing is wrong with it: for handlers that leak. The new worker is ready before the old one is told to go, one
// place at a time; the old one ends what it runs. The zero value recycles nothing.
type Recycle struct {
	Items  int           // after so many tasks; zero means never
	Age    time.Duration // when it is so old; zero means never
	Memory int64         // when its process holds so many bytes; zero means never
	Idle   time.Duration // a worker with nothing to do for so long goes, and comes back when there is; zero means never
	Floor  int           // workers that stay however idle; zero means 1
}

// Draw is r for one worker: each limit up to 10 % off, so that workers that started together do not go together.
func (r Recycle) Draw(random func() float64) Recycle {
	if random == nil {
		random = rand.Float64
	}
	off := func(n int64) int64 {
		if n <= 0 {
			return 0
		}
		return max(1, int64(float64(n)*(0.9+0.2*random())+0.5))
	}
	r.Items, r.Age, r.Memory = int(off(int64(r.Items))), time.Duration(off(int64(r.Age))), off(r.Memory)
	return r
}

// Due says why a worker that has done so much is to be recycled; empty when it is not.
func (r Recycle) Due(items int64, age time.Duration, memory int64) string {
	switch {
	case r.Items > 0 && items >= int64(r.Items):
		return fmt.Sprintf("it has done %d items", items)
	case r.Age > 0 && age >= r.Age:
		return fmt.Sprintf("it is %v old", age.Round(time.Second))
	case r.Memory > 0 && memory >= r.Memory:
		return fmt.Sprintf("it holds %d MiB of memory", memory>>20)
	}
	return ""
}
