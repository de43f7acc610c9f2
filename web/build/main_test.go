package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The bundle that is committed is the one that the sources make.
func TestBundleIsCurrent(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	want, err := bundle(root)
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(filepath.Join(root, target))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s is not what web/src makes: run make generate, and commit it", target)
	}
}
