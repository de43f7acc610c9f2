// Package python carries the Python worker program. It has no code of its own: the program needs nothing but Python's standard library and is
// written out and started by package handler.
package python

import _ "embed"

// Worker is the source of tandem_worker.py.
//
//go:embed tandem_worker.py
var Worker string
