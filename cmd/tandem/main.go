// Command tandem runs mixed work; see tandem --help.
package main

import (
	"os"

	"tandem/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
