// Package deploy holds what installs a node elsewhere to what the command can do. It has no code but this test.
package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"
)

type object = map[string]any

// render gives the chart's objects for some values: by helm where it is, else by the same template language with the few functions that the chart uses.
func render(t *testing.T, set object) ([]object, error) {
	t.Helper()
	text, err := withHelm(t, set)
	if errors.Is(err, exec.ErrNotFound) {
		t.Log("NOT TESTED with helm itself, which is not here: the chart is rendered by Go's text/template")
		text, err = withoutHelm(t, set)
	}
	if err != nil {
		return nil, err
	}
	var all []object
	for doc := range strings.SplitSeq(text, "\n---") {
		var o object
		if err := yaml.Unmarshal([]byte(strings.TrimPrefix(doc, "---")), &o); err != nil {
			t.Fatalf("it is not YAML: %v\n%s", err, doc)
		}
		if o != nil {
			all = append(all, o)
		}
	}
	return all, nil
}

func withHelm(t *testing.T, set object) (string, error) {
	helm, err := exec.LookPath("helm")
	if err != nil {
		return "", exec.ErrNotFound
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	text, err := yaml.Marshal(set)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(helm, "template", "here", "helm/tandem", "-f", file).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}

func withoutHelm(t *testing.T, set object) (string, error) {
	read := func(name string) (o object) {
		text, err := os.ReadFile(name)
		if err == nil {
			err = yaml.Unmarshal(text, &o)
		}
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	chart := read("helm/tandem/Chart.yaml")
	values := read("helm/tandem/values.yaml")
	over(values, set)
	top := template.New("").Option("missingkey=error")
	top.Funcs(template.FuncMap{
		"default": func(d, given any) any {
			if given == nil || given == "" {
				return d
			}
			return given
		},
		"quote": func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"trunc": func(n int, s string) string { return s[:min(n, len(s))] }, "trimSuffix": func(end, s string) string { return strings.TrimSuffix(s, end) },
		"nindent": func(n int, s string) string {
			return "\n" + strings.Repeat(" ", n) + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n"+strings.Repeat(" ", n))
		},
		"toYaml": func(v any) (string, error) { b, err := yaml.Marshal(v); return string(b), err },
		"join": func(sep string, v []any) string {
			return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(v), "[]")), sep)
		},
		"add": func(a, b any) (n int, err error) {
			var m int
			_, err = fmt.Sscan(fmt.Sprint(a, " ", b), &n, &m)
			return n + m, err
		},
		"fail": func(s string) (string, error) { return "", errors.New(s) },
		"include": func(name string, data any) (string, error) {
			var b bytes.Buffer
			err := top.ExecuteTemplate(&b, name, data)
			return strings.TrimSpace(b.String()), err
		},
	})
	if _, err := top.ParseGlob("helm/tandem/templates/*"); err != nil {
		t.Fatal(err)
	}
	data := object{"Values": values, "Chart": object{"AppVersion": chart["appVersion"], "Name": chart["name"]}, "Release": object{"Name": "here", "Service": "Helm"}}
	var all bytes.Buffer
	for _, one := range top.Templates() {
		if strings.HasSuffix(one.Name(), ".yaml") {
			if err := one.Execute(&all, data); err != nil {
				return "", err
			}
			all.WriteString("\n---\n")
		}
	}
	return all.String(), nil
}

// over lays one tree of values over another.
func over(values, set object) {
	for k, v := range set {
		if below, ok := values[k].(object); ok {
			if more, ok := v.(object); ok {
				over(below, more)
				continue
			}
		}
		values[k] = v
	}
}

// at walks into an object.
func at(o any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := o.(object)
			o = m[s]
		case int:
			l, _ := o.([]any)
			if s >= len(l) {
				return nil
			}
			o = l[s]
		}
	}
	return o
}

func find(t *testing.T, all []object, kind string) object {
	t.Helper()
	i := slices.IndexFunc(all, func(o object) bool { return o["kind"] == kind })
	if i < 0 {
		return nil
	}
	return all[i]
}

// flags of a command, from the reference that is generated from the command itself.
func flags(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "tandem node")
	if !ok {
		t.Fatal("the reference does not know tandem node")
	}
	return section
}

func TestChart(t *testing.T) {
	all, err := render(t, object{"labels": []any{"gpu", "eu"}, "nats": object{"credsSecret": "nats-creds"}, "secretsFrom": "keys"})
	if err != nil {
		t.Fatal(err)
	}
	d := find(t, all, "Deployment")
	pod := at(d, "spec", "template", "spec")
	args, _ := at(pod, "containers", 0, "args").([]any)
	for _, want := range []string{"node", "--nats=nats://nats.nats.svc:4222", "--labels=gpu,eu", "--creds=/etc/tandem/creds", "--grace=25s"} {
		if !slices.Contains(args, any(want)) {
			t.Errorf("the node is started without %s: %v", want, args)
		}
	}
	known := flags(t)
	for _, a := range args[1:] {
		name, _, _ := strings.Cut(fmt.Sprint(a), "=")
		if !strings.Contains(known, name) {
			t.Errorf("tandem node has no %s", name)
		}
	}
	if fmt.Sprint(at(d, "spec", "replicas")) != "2" || fmt.Sprint(at(pod, "terminationGracePeriodSeconds")) != "40" {
		t.Errorf("replicas %v, time to end %v", at(d, "spec", "replicas"), at(pod, "terminationGracePeriodSeconds"))
	}
	if at(pod, "securityContext", "runAsNonRoot") != true || at(pod, "volumes", 2, "secret", "secretName") != "nats-creds" ||
		at(pod, "containers", 0, "envFrom", 0, "secretRef", "name") != "keys" {
		t.Errorf("the pod: %v", pod)
	}
	if s := find(t, all, "ServiceAccount"); at(s, "metadata", "name") != at(pod, "serviceAccountName") || at(s, "metadata", "name") == nil {
		t.Errorf("account %v, the pod's %v", at(s, "metadata", "name"), at(pod, "serviceAccountName"))
	}
	if fmt.Sprint(at(d, "spec", "selector", "matchLabels")) == "" || at(d, "spec", "selector", "matchLabels", "app.kubernetes.io/instance") != at(d, "spec", "template", "metadata", "labels", "app.kubernetes.io/instance") {
		t.Error("the deployment does not select its own pods")
	}
	if find(t, all, "ScaledObject") != nil {
		t.Error("a ScaledObject that nobody asked for")
	}
}

func TestChartScalesByWhatWaits(t *testing.T) {
	all, err := render(t, object{"keda": object{"enabled": true, "streams": []any{"tandem-nightly-step-a", "tandem-nightly-step-b"}}})
	if err != nil {
		t.Fatal(err)
	}
	s := find(t, all, "ScaledObject")
	if at(s, "spec", "scaleTargetRef", "name") != at(find(t, all, "Deployment"), "metadata", "name") {
		t.Errorf("it scales %v", at(s, "spec", "scaleTargetRef", "name"))
	}
	if at(find(t, all, "Deployment"), "spec", "replicas") != nil {
		t.Error("the deployment says how many pods, and KEDA too")
	}
	for i, stream := range []string{"tandem-nightly-step-a", "tandem-nightly-step-b"} {
		trigger := at(s, "spec", "triggers", i)
		if at(trigger, "type") != "nats-jetstream" || at(trigger, "metadata", "stream") != stream || at(trigger, "metadata", "consumer") != "tandem" {
			t.Errorf("trigger %d: %v", i, trigger)
		}
		for name, v := range at(trigger, "metadata").(object) {
			if _, ok := v.(string); !ok {
				t.Errorf("KEDA takes texts only, and %s is %T", name, v)
			}
		}
	}
	if _, err := render(t, object{"keda": object{"enabled": true}}); err == nil || !strings.Contains(err.Error(), "keda.streams") {
		t.Errorf("KEDA without a stream: %v", err)
	}
}

func TestUnit(t *testing.T) {
	text, err := os.ReadFile("systemd/tandem-node.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Type=notify", "Delegate=yes", "KillMode=mixed"} {
		if !strings.Contains(string(text), "\n"+want+"\n") {
			t.Errorf("the unit does not say %s", want)
		}
	}
	known := flags(t)
	for _, flag := range regexp.MustCompile(`ExecStart=.*`).FindAllString(string(text), -1) {
		for _, f := range regexp.MustCompile(`--[a-z-]+`).FindAllString(flag, -1) {
			if !strings.Contains(known, f) {
				t.Errorf("tandem node has no %s", f)
			}
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("NOT TESTED: systemd-analyze is not here")
		return
	}
	// The program need not be installed here: another stands in for it.
	file := filepath.Join(t.TempDir(), "tandem-node.service")
	if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte("/usr/local/bin/tandem"), []byte("/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", file).CombinedOutput(); err != nil || strings.Contains(string(out), "tandem-node.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The image's instructions are of the few kinds that are meant, copy what is there, and do not run as root.
func TestImage(t *testing.T) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	user := ""
	for line := range strings.Lines(string(text)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "", "#", "FROM", "WORKDIR", "RUN", "ENV", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD":
		case "USER":
			user = rest
		case "COPY":
			words := strings.Fields(rest)
			for _, from := range words[:len(words)-1] {
				if _, err := os.Stat(filepath.Join("..", from)); !strings.HasPrefix(from, "--") && !strings.HasPrefix(rest, "--from") && err != nil {
					t.Errorf("%s copies what is not there: %v", strings.TrimSpace(line), err)
				}
			}
		default:
			t.Errorf("an instruction that is not known: %q", line)
		}
	}
	if user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
		t.Errorf("it runs as %q", user)
	}
}
