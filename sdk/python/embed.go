// Package python carries the Python worker program. It has no code of its own: the program needs nothing but Python's standard library and is
// written out and started by package handler.
package python

import "embed"

// Worker holds the package tandem_worker.
//
//go:embed tandem_worker/*.py tandem_worker/names/*.py
var Worker embed.FS

// Start is the Python statement that runs the worker whose package lies in the directory that %s names as a Python string.
const Start = "import sys; sys.path.insert(0, %s); from tandem_worker.start import main; main()"
