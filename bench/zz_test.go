package main

import (
	"context"
	"os"
	"testing"
	"tandem/internal/queue/jetstream"
)

func zz(t *testing.T, f func(context.Context, *bench) (figures, error)) {
	b := &bench{seconds: 2, dir: t.TempDir()}
	got, err := f(context.Background(), b)
	t.Log(got, err)
	_ = os.Stdout
}
func TestZZProcess(t *testing.T) { zz(t, levelPipe(jetstream.Process)) }
func TestZZPower(t *testing.T)   { zz(t, levelPipe(jetstream.Power)) }
func TestZZBare(t *testing.T)    { zz(t, natsLoop(false)) }
func TestZZMem(t *testing.T)     { zz(t, memoryPipe) }
func TestZZChan(t *testing.T)    { zz(t, chanPipe) }
