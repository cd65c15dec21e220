// Package loopdisk mounts small ext4 file systems for tests, each in a file. They can be full, fail,
// become read-only, and lose their power. The machine must let the tests mount: they run as root, the
// kernel has loop devices, and mkfs.ext4 and mount are there. A test fails where that is not so.
// [Without] leaves these faults out instead.
package loopdisk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a mounted file system. Only the test's goroutine may call its methods.
type Disk struct {
	Dir string // where it is mounted
	// Broken is set from ShutDown or Abort to MountAgain.
	Broken bool

	tb    testing.TB
	image string
	size  int64
}

// Without is the environment variable that leaves the faults of disks out, with any value.
const Without = "TEMPESTD_TEST_NO_MOUNT"

// New makes and mounts a file system of so many bytes, until the test ends. It returns nil if Without
// is set, and the test's log says so.
func New(tb testing.TB, size int64) *Disk {
	tb.Helper()
	if os.Getenv(Without) != "" {
		tb.Logf("%s is set: the faults of disks are left out", Without)
		return nil
	}
	d := at(tb.TempDir(), size)
	d.tb = tb
	if err := d.make(); err != nil {
		tb.Fatalf("no file system can be mounted for this test: %v\nIt needs root, loop devices and mkfs.ext4. %s=1 leaves the faults of disks out.", err, Without)
	}
	tb.Cleanup(func() {
		if err := d.unmount(); err != nil {
			tb.Error(err)
		}
	})
	return d
}

func at(dir string, size int64) *Disk {
	return &Disk{Dir: filepath.Join(dir, "disk"), image: filepath.Join(dir, "image"), size: size}
}

func (d *Disk) make() error {
	err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Mkdir(d.Dir, 0o700))
	if err == nil {
		err = os.Truncate(d.image, d.size)
	}
	if err == nil {
		err = run("mkfs.ext4", "-q", "-F", "-m", "0", d.image)
	}
	if err == nil {
		err = d.mount()
	}
	return err
}

func (d *Disk) mount() error { return run("mount", "-o", "loop", d.image, d.Dir) }

// unmount waits until no process uses the file system.
func (d *Disk) unmount() (err error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		if err = unix.Unmount(d.Dir, 0); !errors.Is(err, syscall.EBUSY) {
			break
		}
		<-tick.C
	}
	if err != nil {
		err = fmt.Errorf("unmount %s: %w", d.Dir, err)
	}
	return err
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// Fill takes the last block of the disk. It has no effect on a broken one.
func (d *Disk) Fill() {
	f, err := os.Create(d.ballast())
	if err != nil {
		return
	}
	defer f.Close()
	for size := d.size; size >= 4096; size /= 2 {
		for {
			end, err := f.Seek(0, io.SeekEnd)
			if err != nil || unix.Fallocate(int(f.Fd()), 0, end, size) != nil {
				break
			}
		}
	}
}

func (d *Disk) ballast() string { return filepath.Join(d.Dir, "ballast") }

// Empty ends Fill.
func (d *Disk) Empty() { _ = os.Remove(d.ballast()) } // it is gone if the disk was broken meanwhile

// ShutDown makes every operation fail from now on. After MountAgain the disk has what it has after a
// power cut: nothing that was not synced, except by chance.
func (d *Disk) ShutDown() {
	d.tb.Helper()
	const ioctl, withoutFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	f, err := os.Open(d.Dir)
	if err != nil {
		d.tb.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ioctl, withoutFlush); err != nil {
		d.tb.Fatalf("shut a file system down: %v", err)
	}
	d.Broken = true
}

// Abort makes the file system read-only, as an error does.
func (d *Disk) Abort() {
	if err := run("mount", "-o", "remount,abort", d.Dir); err != nil {
		d.tb.Logf("%v", err) // the mount fails because it is aborted
	}
	d.Broken = true
}

// MountAgain mounts a broken file system again. No process may use it.
func (d *Disk) MountAgain() {
	d.tb.Helper()
	err := d.unmount()
	if err == nil {
		err = d.mount()
	}
	if err != nil {
		d.tb.Fatal(err)
	}
	d.Broken = false
}
