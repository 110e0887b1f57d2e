// Package localservers starts a private Redis and a private PostgreSQL on 127.0.0.1, for tests and for the benchmark. Each
// server is the real one, on a port of its own, with its data in a temporary directory that Stop removes. A server never
// outlives the process that started it, not even when that process is killed; StartTied ties other programs in the same way. It
// installs nothing: when a server's program is missing the error says in one line what to install.
package localservers

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// startBound is how long a server may take to answer after its process has started: a PostgreSQL that crashed recovers first.
	startBound = 2 * time.Minute
	// stopBound is how long a server may take to end by itself before it is killed.
	stopBound = 10 * time.Second
	// portTries bounds how often a start is repeated because another process took the port first.
	portTries = 20

	directoryPrefix = "tgfleet-server-"
	lockName        = "lock"
)

// findProgram returns the path of a server program: from PATH, or else from Debian's directories of PostgreSQL, newest first.
func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%s is not installed: apt-get install redis-server postgresql", name)
	}
	return slices.MaxFunc(found, func(a, b string) int { return majorVersion(a) - majorVersion(b) }), nil
}

func majorVersion(program string) int {
	version, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(program))))
	if err != nil {
		return 0
	}
	return version
}

// directory is a temporary directory that is locked while its owner lives, so that a later process can tell what a killed one
// has left behind and remove it.
type directory struct {
	path string
	lock *os.File
}

func newDirectory() (*directory, error) {
	removeAbandoned()
	path, err := os.MkdirTemp("", directoryPrefix)
	if err != nil {
		return nil, fmt.Errorf("make the server's directory: %w", err)
	}
	lock, err := os.Create(filepath.Join(path, lockName))
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the server's directory %s: %w", path, err)
	}
	return &directory{path: path, lock: lock}, nil
}

func (d *directory) remove() error {
	err := os.RemoveAll(d.path)
	if closeErr := d.lock.Close(); err == nil {
		err = closeErr
	}
	return err
}

// removeAbandoned removes the directories of dead processes. A directory younger than a minute is left alone: its owner may not
// have locked it yet, or its server may still be ending.
func removeAbandoned() {
	left, err := filepath.Glob(filepath.Join(os.TempDir(), directoryPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range left {
		info, err := os.Stat(path)
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		lock, err := os.Open(filepath.Join(path, lockName))
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(path)
		}
		_ = lock.Close()
	}
}

// FreePort returns a port of 127.0.0.1 that nothing listens on now; whoever starts a server there must be ready to lose it to
// somebody faster. It stays below the range from which the system takes the ports of outgoing connections, so that a
// server can come back on its port after a while of being down.
func FreePort() (int, error) {
	const lowest, highest = 15000, 32000
	var err error
	for range portTries {
		port := lowest + rand.IntN(highest-lowest)
		var listener net.Listener
		if listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

// lastLines returns the end of a server's log as one line, for an error.
func lastLines(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}
