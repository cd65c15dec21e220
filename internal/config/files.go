package config

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
)

// readFiles reads the files that the configuration names.
func (l *loader) readFiles() {
	l.readTokens()
	l.readPasswords()
	l.readAccountPasswords()
	for name, f := range l.feeds {
		if f == nil || f.didsFile == "" {
			continue
		}
		key := showPath([]string{"feeds", name, "dids_file"})
		more, bad, err := readDIDs(f.didsFile)
		if err != nil {
			l.report(l.lines[key], key, reason(err), "want a readable file of DIDs, one a line")
		}
		for _, p := range bad {
			l.errs.List = append(l.errs.List, &Error{File: p.file, Line: p.line, Key: key, Found: p.found, Want: p.want})
		}
		f.DIDs = withoutRepeats(slices.Concat(f.DIDs, more))
	}
}

// secretFile reads the file that the key names, if it names one. what says what the file holds.
func (l *loader) secretFile(key, file, what string) Secret {
	return l.readSecret(l.lines[key], key, file, what)
}

func (l *loader) readSecret(line int, key, file, what string) Secret {
	if file == "" {
		return Secret{}
	}
	secret, err := ReadToken(file)
	want := "want a readable file that holds the " + what
	dir, _ := l.source.env(credentials)
	switch {
	// systemd 252 sets the variable for a unit's other processes too, but gives them no credentials.
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist) && dir != "" && filepath.Dir(file) == filepath.Clean(dir):
		l.unresolved(line, key, reason(err), want)
	case err != nil:
		l.report(line, key, reason(err), want)
	}
	return secret
}
