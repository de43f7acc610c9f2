package jetstream

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// settle makes what a new stream is made of survive a power cut: the server syncs messages, and not the directories that it makes for them.
func (s *Server) settle() error {
	return filepath.WalkDir(s.cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}
