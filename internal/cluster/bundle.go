package cluster

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"tandem"
)

// MaxBundle is how large a bundle may be, packed.
const MaxBundle = 64 << 20

// left are names that never travel: they are made anew, or are nobody's business.
var left = []string{".git", ".venv", "venv", "node_modules", "__pycache__", ".tandem", ".pytest_cache", ".mypy_cache"}

// Bundle packs a flow's directory: code and files, in an order and with times that do not depend on when, so that the same files make the same bundle. Names in
// skip (and in a file .tandemignore there, one pattern a line) stay behind.
func Bundle(dir string, skip []string) (name string, packed []byte, err error) {
	var buf bytes.Buffer
	z, _ := gzip.NewWriterLevel(&buf, gzip.BestSpeed) // the level is a known one
	t := tar.NewWriter(z)
	if b, err := os.ReadFile(filepath.Join(dir, ".tandemignore")); err == nil {
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				skip = append(skip, line)
			}
		}
	}
	largest, size := "", int64(0)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		if slices.Contains(left, d.Name()) || slices.ContainsFunc(skip, func(p string) bool { return match(p, rel) }) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() && !d.IsDir() {
			return err // links and devices stay
		}
		h := &tar.Header{Name: filepath.ToSlash(rel), Mode: int64(info.Mode().Perm()), Size: info.Size(), Typeflag: tar.TypeReg}
		if d.IsDir() {
			h.Typeflag, h.Size, h.Name = tar.TypeDir, 0, h.Name+"/"
			return t.WriteHeader(h)
		}
		if info.Size() > size {
			largest, size = rel, info.Size()
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err = io.Copy(t, f); err == nil && buf.Len() > MaxBundle {
			err = errTooLarge
		}
		return err
	})
	err = errors.Join(err, t.Close(), z.Close())
	if errors.Is(err, errTooLarge) || buf.Len() > MaxBundle {
		return "", nil, &tandem.Error{Op: "pack", On: dir, Kind: tandem.KindTooLarge, Message: fmt.Sprintf("the flow's directory packs to more than %d MiB; the largest file is %s (%d bytes)", MaxBundle>>20, largest, size),
			Hint: "name what the steps do not need in a file .tandemignore there, one pattern a line"}
	}
	if err != nil {
		return "", nil, &tandem.Error{Op: "pack", On: dir, Kind: tandem.KindFile, Message: err.Error(), Err: err}
	}
	sum := sha256.Sum256(buf.Bytes())
	return hex.EncodeToString(sum[:]), buf.Bytes(), nil
}

var errTooLarge = errors.New("the bundle is too large")

// match tells whether a pattern names a path or a directory above it.
func match(pattern, path string) bool {
	pattern = strings.TrimSuffix(strings.TrimPrefix(pattern, "/"), "/")
	for p := path; p != "."; p = filepath.Dir(p) {
		if ok, _ := doublestar.Match(pattern, p); ok {
			return true
		}
		if ok, _ := doublestar.Match(pattern, filepath.Base(p)); ok && !strings.Contains(pattern, "/") {
			return true
		}
	}
	return false
}

// Store puts a bundle into the object store, unless it is there.
func (h *Hub) Store(ctx context.Context, name string, packed []byte) error {
	if has, err := h.objects.Has(ctx, "bundle/"+name); err != nil || has {
		return err
	}
	return h.objects.Put(ctx, "bundle/"+name, bytes.NewReader(packed))
}

// Fetch unpacks a bundle under cache, unless it is there, and tells where. Half of one is never seen: it is unpacked beside and then renamed.
func (h *Hub) Fetch(ctx context.Context, name, cache string) (string, error) {
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	r, err := h.objects.Get(ctx, "bundle/"+name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	packed, err := io.ReadAll(io.LimitReader(r, MaxBundle+1))
	if err != nil {
		return "", &tandem.Error{Op: "fetch the bundle", On: name, Kind: tandem.KindQueue, Message: err.Error(), Err: err, Again: tandem.AgainYes}
	}
	if sum := sha256.Sum256(packed); hex.EncodeToString(sum[:]) != name {
		return "", &tandem.Error{Op: "fetch the bundle", On: name, Kind: tandem.KindQueue, Message: "what came is not what its name says", Hint: "somebody has changed it in the store; submit again"}
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(cache, ".unpack")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := unpack(packed, tmp); err != nil {
		return "", &tandem.Error{Op: "unpack the bundle", On: name, Kind: tandem.KindFile, Message: err.Error(), Err: err}
	}
	if err := os.Rename(tmp, dir); err != nil {
		if _, there := os.Stat(dir); there == nil { // another node of this machine was faster
			return dir, nil
		}
		return "", err
	}
	return dir, nil
}

// unpack writes a bundle below dir, and nothing outside.
func unpack(packed []byte, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.FromSlash(strings.TrimSuffix(h.Name, "/"))
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o700)
		case tar.TypeReg:
			var f *os.File
			if f, err = root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(h.Mode)&0o755|0o400); err == nil {
				_, err = io.Copy(f, t)
				err = errors.Join(err, f.Close())
			}
		default:
			err = fmt.Errorf("%s is neither a file nor a directory", h.Name)
		}
		if err != nil {
			return err
		}
	}
}
