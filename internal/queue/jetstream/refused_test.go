package jetstream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	njs "github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// raw starts a server as somebody else has set it up.
func raw(t *testing.T, set func(*server.Options)) string {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 1 << 20}
	set(o)
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	return "nats://" + s.Addr().String()
}

// authority makes certificates: its own file, and one for 127.0.0.1 that both sides use.
func authority(t *testing.T) (ca, cert, key string, pair tls.Certificate, pool *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &caKey.PublicKey, caKey)
	must(err)
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "tandem"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &leafKey.PublicKey, caKey)
	must(err)
	keyDER, err := x509.MarshalECPrivateKey(leafKey)
	must(err)
	ca, cert, key = write("ca.pem", "CERTIFICATE", rootDER), write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "EC PRIVATE KEY", keyDER)
	pair, err = tls.LoadX509KeyPair(cert, key)
	must(err)
	parsed, err := x509.ParseCertificate(rootDER)
	must(err)
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return ca, cert, key, pair, pool
}

// Whoever cannot connect is told why, and what to do.
func TestRefused(t *testing.T) {
	ca, cert, key, pair, pool := authority(t)
	otherCA, _, _, _, _ := authority(t)
	plain := raw(t, func(*server.Options) {})
	password := raw(t, func(o *server.Options) { o.Username, o.Password = "u", "p" })
	secure := raw(t, func(o *server.Options) {
		o.TLS, o.TLSConfig = true, &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	})
	for _, c := range []struct {
		name, url   string
		cfg         Config
		says, hints string
	}{
		{"nobody there", "nats://127.0.0.1:1", Config{}, "no server answers", "check the address"},
		{"no credentials", password, Config{}, "asks for credentials", "--creds"},
		{"wrong password", strings.Replace(password, "://", "://u:wrong@", 1), Config{}, "credentials", "--creds"},
		{"no such file", plain, Config{Creds: "/nowhere/x.creds"}, "/nowhere/x.creds", "--creds"},
		{"no such authority", secure, Config{CA: "/nowhere/ca.pem"}, "/nowhere/ca.pem", "--ca"},
		{"another authority", secure, Config{CA: otherCA, Cert: cert, Key: key}, "nobody we trust", "--ca"},
		{"no authority", secure, Config{}, "nobody we trust", "--ca"},
		{"no certificate of ours", secure, Config{CA: ca}, "asks for a certificate", "--cert"},
		{"a plain server", plain, Config{CA: ca}, "does not speak TLS", "nats://"},
	} {
		e, err := Connect(c.url, c.cfg)
		if err == nil {
			_ = e.Close()
			t.Errorf("%s: connected", c.name)
			continue
		}
		te, ok := err.(*tandem.Error)
		if !ok || !strings.Contains(te.Message, c.says) || !strings.Contains(te.Hint, c.hints) {
			t.Errorf("%s: %v (hint: %+v); want %q and a hint with %q", c.name, err, te, c.says, c.hints)
		}
	}
	e, err := Connect(secure, Config{CA: ca, Cert: cert, Key: key})
	if err != nil {
		t.Fatalf("with all certificates: %v", err)
	}
	defer e.Close()
	f, err := e.Facts(t.Context())
	if err != nil || !f.TLS || f.Version == "" || f.Skew.Abs() > time.Second+f.SkewBound {
		t.Errorf("facts: %+v, %v", f, err)
	}
}

// older is a connection to a server that says it has another version.
type older struct {
	net.Conn
	version string
}

func (c *older) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if at := bytes.Index(b[:n], []byte(`"version":"`)); at >= 0 { // a server says it again when something about it changes
		from := at + len(`"version":"`)
		to := from + bytes.IndexByte(b[from:n], '"')
		n = from + copy(b[from:], append([]byte(c.version), b[to:n]...))
	}
	return n, err
}

// A server that is too old is named, with what it lacks; one that is old enough is taken.
func TestAnOlderServer(t *testing.T) {
	url := raw(t, func(*server.Options) {})
	for version, good := range map[string]bool{"2.9.9": false, "1.4.1": false, "2.10.0": true} {
		e, err := Connect(url, Config{Dial: func() (net.Conn, error) {
			c, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
			return &older{Conn: c, version: version}, err
		}})
		if (err == nil) != good {
			t.Errorf("%s: %v", version, err)
		}
		if err == nil {
			_ = e.Close()
			continue
		}
		te, ok := err.(*tandem.Error)
		if !ok || !strings.Contains(te.Message, "nats-server "+version) || !strings.Contains(te.Message, "metadata") || !strings.Contains(te.Message, "2.10") || !strings.Contains(te.Hint, "doctor --nats") {
			t.Errorf("%s: %+v", version, err)
		}
	}
}

// A server without JetStream, one that is full, and a stream of somebody else's are named.
func TestServersThatDoNotSuffice(t *testing.T) {
	open := func(url string) *Engine {
		t.Helper()
		e, err := Connect(url, Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = e.Close() })
		return e
	}
	wants := func(err error, says string) {
		t.Helper()
		te, ok := err.(*tandem.Error)
		if !ok || !strings.Contains(te.Message+te.Hint, says) {
			t.Errorf("%v; want an error with %q", err, says)
		}
	}
	none := open(raw(t, func(o *server.Options) { o.JetStream = false }))
	wants(none.Await(t.Context(), 2*time.Second), "no JetStream")
	_, err := none.Facts(t.Context())
	wants(err, "no JetStream")

	e := open(raw(t, func(o *server.Options) { o.JetStreamMaxStore = 8 << 20 }))
	if _, err := e.js.CreateStream(t.Context(), njs.StreamConfig{Name: "tandem-theirs", Subjects: []string{"theirs"}}); err != nil {
		t.Fatal(err)
	}
	_, err = e.Open(t.Context(), tandem.QueueConfig{Name: "theirs", Items: 10})
	wants(err, "not one of Tandem's")
	_, err = e.Shelf(t.Context(), "theirs", 10, 1<<20, false)
	wants(err, "not one of Tandem's")

	_, err = e.Objects(t.Context(), "large", 1<<40)
	wants(err, "no storage left")
	o, err := e.Objects(t.Context(), "small", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	wants(o.Put(ctx, "x", bytes.NewReader(make([]byte, 2<<20))), "more than the object store may hold")
	if err := o.Put(ctx, "y", bytes.NewReader(make([]byte, 600<<10))); err != nil {
		t.Fatal(err)
	}
	wants(o.Within(0.5).Put(ctx, "z", bytes.NewReader(make([]byte, 1<<10))), "kept for the steps behind")
	err = o.Put(ctx, "z", bytes.NewReader(make([]byte, 600<<10)))
	wants(err, "the object store is full")
	if !Full(err) {
		t.Error("a full store is not told by Full")
	}
}

// A shelf keeps one message of each name, the newest, and what is beyond its bounds goes from the old end.
func TestShelf(t *testing.T) {
	e, err := Connect(raw(t, func(*server.Options) {}), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if sh, err := e.Shelf(t.Context(), "s", 3, 1<<20, false); sh != nil || err != nil {
		t.Fatalf("a shelf that nobody made: %v, %v", sh, err)
	}
	sh, err := e.Shelf(t.Context(), "s", 3, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	read := func() (all string) {
		t.Helper()
		if err := sh.Each(t.Context(), func(m tandem.DeadMessage) bool { all += m.ID + string(m.Body) + " "; return true }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	put := func(id, body string) {
		t.Helper()
		if err := sh.Put(t.Context(), tandem.Message{ID: id, Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a b", "c", "d"} {
		put(id, "1")
	}
	put("c", "2")
	if got := read(); got != "a b1 d1 c2 " {
		t.Errorf("the shelf has %q", got)
	}
	put("e", "1")
	if got := read(); got != "d1 c2 e1 " {
		t.Errorf("beyond its bound the shelf has %q", got)
	}
	if err := sh.Delete(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if n, err := sh.Len(t.Context()); n != 2 || err != nil || read() != "d1 e1 " {
		t.Errorf("after a removal: %d, %v, %q", n, err, read())
	}
	if err := e.RemoveShelf(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if sh, _ := e.Shelf(t.Context(), "s", 3, 1<<20, false); sh != nil {
		t.Error("the shelf is still there")
	}
}
