// Package owner keeps the files of a directory its owner's where root works in it.
//
// A service manager that lends a daemon its user (DynamicUser) gives it the state directory with all
// that is in it only if the directory itself is another user's. A file that a command of root's has
// left inside stays root's, and the daemon cannot open it.
package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Owner is the user that a directory belongs to.
type Owner struct {
	dir      string
	uid, gid int
}

// Of returns the owner of a directory. Of a directory that is not there it is root.
func Of(dir string) Owner {
	o := Owner{dir: dir}
	if info, err := os.Stat(dir); err == nil {
		o.uid, o.gid, _ = ids(info)
	}
	return o
}

// Give gives the owner what belongs to root in the directory. It does nothing where root does not
// run the process or owns the directory. A file with several names is left alone: one of them may be
// somewhere else.
func (o Owner) Give() error {
	if os.Geteuid() != 0 || o.uid == 0 {
		return nil
	}
	// Nothing outside of the root is reached, whatever links the owner puts into the directory.
	root, err := os.OpenRoot(o.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	err = o.foreign(root, func(name string, info fs.FileInfo) error {
		if uid, _, names := ids(info); uid != 0 || names > 1 && !info.IsDir() {
			return nil
		}
		return root.Lchown(name, o.uid, o.gid)
	})
	if err != nil {
		return fmt.Errorf("give what root made in %s to its owner: %w", o.dir, err)
	}
	return nil
}

// Foreign returns the names of the files in the directory that belong to another user. It leaves out
// what it may not look at.
func (o Owner) Foreign() (names []string, err error) {
	root, err := os.OpenRoot(o.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	err = o.foreign(root, func(name string, _ fs.FileInfo) error {
		names = append(names, name)
		return nil
	})
	return names, err
}

// foreign visits the files that belong to another user. One that goes meanwhile is passed over, and
// so is the directory that every ext4 begins with.
func (o Owner) foreign(root *os.Root, visit func(name string, info fs.FileInfo) error) error {
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if name == "lost+found" {
			return fs.SkipDir
		}
		var info fs.FileInfo
		if err == nil {
			info, err = e.Info()
		}
		if err == nil {
			if uid, _, _ := ids(info); uid != o.uid {
				err = visit(name, info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		return err
	})
}

func ids(info fs.FileInfo) (uid, gid int, names uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid), uint64(st.Nlink)
	}
	return 0, 0, 1
}
