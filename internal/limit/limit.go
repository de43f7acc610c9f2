// Package limit is a stand-in.
package limit

import ("context";"time")

type Breaker struct { Failures int; Pause time.Duration }
type Config struct { Concurrency int; Auto bool; Max int; Rate float64; Burst int; Breaker Breaker }
func (c Config) Most() int { return 256 }
type Verdict int
const ( Good Verdict = iota; Overload; Broken; Bad; Ignore )
type Limit struct{}
func New(Config) *Limit { return &Limit{} }
func (l *Limit) Acquire(ctx context.Context) error { return nil }
func (l *Limit) Release(d time.Duration, v Verdict, after time.Duration) {}
