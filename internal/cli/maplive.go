package cli

import (
	"path/filepath"

	"tandem/internal/runs"
)

// mapFlow stands for the flow of a run of tandem map.
const mapFlow = "tandem map"

// mapsDir is where a run of tandem map has its directory while it goes on.
func mapsDir(root string) string { return filepath.Join(filepath.Dir(root), "maps") }

var _ = runs.Running
