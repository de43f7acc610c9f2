package flowfile

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"tandem"
)

// secretPrefix leads the names of secrets in the environment.
const secretPrefix = "TANDEM_SECRET_"

// environment is the environment by name, without the secrets: those are secrets.NAME.
func environment(env []string) map[string]string {
	m := map[string]string{}
	for _, kv := range env {
		if name, value, ok := strings.Cut(kv, "="); ok && !strings.HasPrefix(name, secretPrefix) {
			m[name] = value
		}
	}
	return m
}

// readSecrets gathers secrets: from the file that the flow names, then from the environment, which comes first.
func (f *File) readSecrets(env []string) (map[string]string, error) {
	secrets := map[string]string{}
	if f.Secrets != "" {
		path, err := f.fixedPath(f.Secrets, "secrets")
		if err != nil {
			return nil, err
		}
		if err := readSecretFile(path, secrets); err != nil {
			return nil, err
		}
	}
	for _, kv := range env {
		if name, value, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, secretPrefix) {
			secrets[strings.TrimPrefix(name, secretPrefix)] = value
		}
	}
	return secrets, nil
}

func readSecretFile(path string, into map[string]string) error {
	wrong := func(on, hint, format string, args ...any) error {
		return &tandem.Error{Op: "read the secrets in", On: on, Kind: tandem.KindInvalid, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	info, err := os.Stat(path)
	if err != nil {
		return wrong(path, "write NAME=VALUE lines into it and chmod 600 it", "%s", reason(err))
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return wrong(path, "chmod 600 "+path, "others may read it (mode %04o)", mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return wrong(path, "", "%s", reason(err))
	}
	n := 0
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		n++
		line := strings.TrimSpace(s.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || !isName(name) {
			return wrong(fmt.Sprintf("%s:%d", path, n), "comments begin with #", "want NAME=VALUE")
		}
		into[name] = strings.TrimSpace(value)
	}
	return nil
}

// shortSecret is the length below which a secret is not looked for: it would be found everywhere.
const shortSecret = 4

// redactor takes the values of secrets out of what is written and shown.
func redactor(secrets map[string]string) func(tandem.Value) tandem.Value {
	var values []string
	for _, v := range secrets {
		if len(v) >= shortSecret {
			values = append(values, v)
		}
	}
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) }) // a secret may hold another
	return func(v tandem.Value) tandem.Value {
		for _, s := range values {
			if bytes.Contains(v.Data, []byte(s)) {
				v.Data = bytes.ReplaceAll(v.Data, []byte(s), []byte("[secret]"))
			}
		}
		return v
	}
}
