package jetstream

import (
	"os"
	"os/exec"
	"testing"
)

const sweptEnv = "TANDEM_TEST_SWEPT"

// TestServerToBeKilled is the process of TestPlacesOfTheDeadGo: it serves at level power until it is killed.
func TestServerToBeKilled(t *testing.T) {
	dir := os.Getenv(sweptEnv)
	if dir == "" {
		return
	}
	s, err := Serve(ServerConfig{Dir: dir, Level: Power})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdout.WriteString(s.staging + "\n")
	select {}
}

// What a killed server had in memory for batches goes when any other starts, and what a living one has stays.
func TestPlacesOfTheDeadGo(t *testing.T) {
	if _, err := os.Stat(shared); err != nil {
		t.Skip("NOT TESTED: no " + shared)
	}
	lives, err := Serve(ServerConfig{Dir: t.TempDir(), Level: Power})
	if err != nil {
		t.Fatal(err)
	}
	defer lives.Close()
	dies := exec.Command(os.Args[0], "-test.run", "^TestServerToBeKilled$")
	dies.Env = append(os.Environ(), sweptEnv+"="+t.TempDir())
	out, err := dies.StdoutPipe()
	if err == nil {
		err = dies.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil || n < 2 {
		t.Fatal(n, err)
	}
	place := string(line[:n-1])
	start := func() {
		t.Helper()
		s, err := Serve(ServerConfig{Dir: t.TempDir()})
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	start()
	if _, err := os.Stat(place); err != nil {
		t.Errorf("the place of a living server: %v", err)
	}
	_ = dies.Process.Kill()
	_ = dies.Wait()
	if _, err := os.Stat(place); err != nil {
		t.Fatalf("a killed server left nothing, so this tests nothing: %v", err)
	}
	start()
	if _, err := os.Stat(place); !os.IsNotExist(err) {
		t.Errorf("what the dead one left is there: %v", err)
	}
	if _, err := os.Stat(lives.staging); err != nil {
		t.Errorf("the place of a living server: %v", err)
	}
}
