package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/unifaas/unifaas/internal/faas"
)

// schemaVersion is the layout of the state folder. A platform refuses a
// folder of a version that it does not know.
const schemaVersion = "1"

// state is the platform's hold on its two folders.
type state struct {
	node  string
	locks []*os.File
}

// openState makes the folders if needed, takes their locks and reads (or
// makes) the node id.
func openState(stateDir, runDir string) (_ *state, err error) {
	s := &state{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, dir := range []string{stateDir, runDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("create folder of the platform: %w", err)
		}
		if err := private(dir); err != nil {
			return nil, err
		}
		lock, err := lock(dir)
		if err != nil {
			return nil, err
		}
		s.locks = append(s.locks, lock)
	}
	if err := checkSchema(filepath.Join(stateDir, "schema")); err != nil {
		return nil, err
	}
	s.node, err = nodeID(filepath.Join(stateDir, "node-id"))
	return s, err
}

func (s *state) close() {
	for _, l := range s.locks {
		_ = l.Close() // ends the lock with it
	}
}

// private refuses a folder that somebody else can write to: what is in it is
// executed and served.
func private(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("check folder: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() {
		return faas.Errorf(faas.KindInvalid, "folder %q belongs to uid %d, not to us (uid %d); choose another", dir, st.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o022 != 0 {
		return faas.Errorf(faas.KindInvalid, "folder %q can be written by others; chmod go-w it or choose another", dir)
	}
	return nil
}

func lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := flock(file); err != nil {
		_ = file.Close()
		holder, _ := os.ReadFile(path)
		return nil, faas.Errorf(faas.KindInvalid,
			"folder %q is in use by another unifaas (process %s); stop it, or give this one its own --state-dir and --run-dir",
			dir, strings.TrimSpace(string(holder)))
	}
	if err := file.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(file, "%d\n", os.Getpid()) // a hint for people, nothing depends on it
	}
	return file, nil
}

// lockPatience is how long the holder of a lock may take to die: it is held
// for a moment longer by a process that has just been killed.
const lockPatience = 3 * time.Second

func flock(file *os.File) error {
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) || time.Since(begin) > lockPatience {
			return err
		}
	}
}

func checkSchema(path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeFile(path, schemaVersion)
	}
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if have := strings.TrimSpace(string(raw)); have != schemaVersion {
		return faas.Errorf(faas.KindInvalid, "%s says version %q, this unifaas knows %q; use the version that wrote it, or another --state-dir", path, have, schemaVersion)
	}
	return nil
}

// nodeID returns the id that marks everything this platform makes on the
// host: "u" and five characters, chosen once.
func nodeID(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err == nil {
		id := strings.TrimSpace(string(raw))
		if len(id) != 6 || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return "", faas.Errorf(faas.KindInvalid, "%s holds %q, which is no node id; remove the file", path, id)
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read node id: %w", err)
	}
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	b := make([]byte, 5)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = letters[b[i]%32]
	}
	id := "u" + string(b)
	return id, writeFile(path, id)
}

// writeFile writes durably: after it returns, the file is whole or, on
// error, was not there.
func writeFile(path, content string) error {
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	_, err = file.WriteString(content + "\n")
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return os.Rename(path+".new", path)
}
