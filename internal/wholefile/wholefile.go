// Package wholefile replaces files so that after a crash each is complete, old or new.
package wholefile

import (
	"errors"
	"os"
	"path/filepath"

	"tempestd/internal/crashpoint"
)

// Write replaces the file by one with the text, of mode 0600. When it returns without an error, the
// new file is durable; after an error the old one is unchanged, or the new one may not survive a
// power cut. The file's folder is there already. It is safe for concurrent use: one of several
// writers wins.
func Write(path string, text []byte) error {
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		crashpoint.Pass(crashpoint.FileReplace)
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	crashpoint.Pass(crashpoint.FileReplaced)
	// A rename is durable when its folder is.
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
