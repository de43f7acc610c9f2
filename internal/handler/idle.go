package handler

import (
	"net"
	"sync"
	"time"
)

// conn is a connection and the first byte of an answer, read while no buffer was held.
type conn struct {
	net.Conn
	address string
	since   time.Time // idle since; zero when it was never
	first   [1]byte
	has     bool
	limit   int64 // bytes that may still be read; the header's limit, then none
}

func (c *conn) Read(p []byte) (int, error) {
	if c.limit <= 0 {
		return 0, errHeader
	}
	n, err := 1, error(nil)
	if c.has && len(p) > 0 {
		p[0], c.has = c.first[0], false
	} else {
		n, err = c.Conn.Read(p)
	}
	c.limit -= int64(n)
	return n, err
}

// idle keeps connections between requests. The bound is for all hosts together: items that each go to a host of their own must not use up the
// process's open files.
type idle struct {
	most    int
	timeout time.Duration

	mu     sync.Mutex
	hosts  map[string][]*conn // by address, the most recently used last; no list is empty
	n      int                // in all lists
	sweeps *time.Timer        // nil when there is nothing to sweep
	closed bool
}

// take gives the connection that was idle for the shortest time, or nil. Whether it can still be used, its use will tell.
func (i *idle) take(address string) *conn {
	i.mu.Lock()
	defer i.mu.Unlock()
	list := i.hosts[address]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	i.set(address, list[:len(list)-1])
	i.n--
	return c
}

// put keeps c for the next request, or closes it.
func (i *idle) put(c *conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.most <= 0 {
		c.Close()
		return
	}
	if i.n >= i.most {
		for address, list := range i.hosts { // any host will do
			i.drop(address, list, 1)
			break
		}
	}
	if i.hosts == nil {
		i.hosts = map[string][]*conn{}
	}
	c.since = time.Now()
	i.hosts[c.address] = append(i.hosts[c.address], c)
	i.n++
	if i.sweeps == nil {
		i.sweeps = time.AfterFunc(i.timeout/4, i.sweep)
	}
}

// sweep closes what was idle for too long.
func (i *idle) sweep() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for address, list := range i.hosts {
		old := 0
		for old < len(list) && time.Since(list[old].since) >= i.timeout {
			old++
		}
		i.drop(address, list, old)
	}
	if i.n == 0 {
		i.sweeps = nil
		return
	}
	i.sweeps.Reset(i.timeout / 4)
}

// drop closes the n connections of address that were idle for the longest time.
func (i *idle) drop(address string, list []*conn, n int) {
	for _, c := range list[:n] {
		c.Close()
	}
	clear(list[:n])
	i.n -= n
	i.set(address, list[n:])
}

func (i *idle) set(address string, list []*conn) {
	if len(list) == 0 {
		delete(i.hosts, address)
		return
	}
	i.hosts[address] = list
}

// close closes all and keeps none from now on.
func (i *idle) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	for address, list := range i.hosts {
		i.drop(address, list, len(list))
	}
	if i.sweeps != nil {
		i.sweeps.Stop()
	}
}
