// Command build bundles the TypeScript of web/src into internal/report/page/page.js, with esbuild as a library: no Node, no network. It runs in make generate,
// from the top of the repository. The bundle is committed, so that go install needs none of this; its test says when it is stale.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/evanw/esbuild/pkg/api"
)

const target = "internal/report/page/page.js"

// bundle is the program of the report's page. root is the top of the repository.
func bundle(root string) ([]byte, error) {
	r := api.Build(api.BuildOptions{
		AbsWorkingDir: root,
		EntryPoints:   []string{"web/src/page.ts"},
		Bundle:        true,
		Format:        api.FormatIIFE,
		Target:        api.ES2022,
		Charset:       api.CharsetASCII, // a page may be cut out and pasted anywhere
		Banner:        map[string]string{"js": "// Made from web/src by make generate. Do not edit."},
		LogLevel:      api.LogLevelSilent,
	})
	if len(r.Errors) > 0 {
		return nil, fmt.Errorf("%s", api.FormatMessages(r.Errors, api.FormatMessagesOptions{}))
	}
	return r.OutputFiles[0].Contents, nil
}

func main() {
	root, err := filepath.Abs(".")
	if err != nil {
		log.Fatal(err)
	}
	js, err := bundle(root)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, target), js, 0o644); err != nil {
		log.Fatal(err)
	}
}
