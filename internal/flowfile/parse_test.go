package flowfile

import (
	"fmt"
	"os"
	"testing"
)

func TestTry(t *testing.T) {
	_, err := Load(os.Getenv("TRY"))
	fmt.Println(err)
	os.WriteFile("/tmp/fl/schema.json", Schema(), 0o644)
}
