package redis

import (
	_ "embed"

	client "github.com/redis/go-redis/v9"
)

// What the server runs. Each script begins with shared.lua, which has the places of a message and the ways between them.
var (
	//go:embed lua/shared.lua
	shared string
	//go:embed lua/open.lua
	openText string
	//go:embed lua/put.lua
	putText string
	//go:embed lua/take.lua
	takeText string
	//go:embed lua/done.lua
	doneText string
	//go:embed lua/end.lua
	endText string
	//go:embed lua/dead.lua
	deadText string
	//go:embed lua/exhume.lua
	exhumeText string
	//go:embed lua/stats.lua
	statsText string

	opened  = client.NewScript(openText)
	put     = client.NewScript(shared + putText)
	take    = client.NewScript(shared + takeText)
	done    = client.NewScript(shared + doneText)
	ended   = client.NewScript(shared + endText)
	dead    = client.NewScript(shared + deadText)
	exhumed = client.NewScript(shared + exhumeText)
	stats   = client.NewScript(shared + statsText)
)
