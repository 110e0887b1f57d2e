package localservers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// RedisOptions says what a Redis should be like. The zero value keeps nothing over a restart.
type RedisOptions struct {
	// AppendOnly keeps an append-only file, so that a restarted server has its data again.
	AppendOnly bool
	// Fsync is the policy of the append-only file: "always", "everysec" or "no"; empty means "everysec".
	Fsync string
	// Args are more arguments of redis-server, such as "--maxmemory", "8mb".
	Args []string
}

// Redis is one private Redis server. Its methods may be called from any goroutine.
type Redis struct {
	directory *directory
	options   RedisOptions
	port      int

	mu      sync.Mutex
	process *process // nil once stopped
}

// StartRedis starts a server and returns when it answers. ctx bounds the start only.
func StartRedis(ctx context.Context, options RedisOptions) (*Redis, error) {
	directory, err := newDirectory()
	if err != nil {
		return nil, err
	}
	r := &Redis{directory: directory, options: options}
	for range portTries {
		if r.port, err = FreePort(); err != nil {
			break
		}
		if err = r.start(ctx); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start redis: %w", err), directory.remove())
	}
	return r, nil
}

// Addr returns the server's host and port; they stay the same over a Restart.
func (r *Redis) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) }

// URL returns where clients connect; it stays the same over a Restart.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }

// Stop ends the server in good order and removes its data. A second Stop does nothing; nothing can start it again.
func (r *Redis) Stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return nil
	}
	err := r.process.stop()
	r.process = nil
	return errors.Join(err, r.directory.remove())
}

// Kill ends the server as a crash would and keeps its data for Restart. It does nothing when the server is not running.
func (r *Redis) Kill() error {
	return r.with(func(p *process) error { return p.kill() })
}

// Pause freezes the server: connections stay open and nothing answers, until Resume.
func (r *Redis) Pause() error {
	return r.with(func(p *process) error { return p.signal(syscall.SIGSTOP) })
}

// Resume lets a frozen server go on.
func (r *Redis) Resume() error {
	return r.with(func(p *process) error { return p.signal(syscall.SIGCONT) })
}

// Restart starts the server again on the same port and data; it ends a running one in good order first.
func (r *Redis) Restart(ctx context.Context) error {
	return r.with(func(p *process) error {
		if err := p.stop(); err != nil {
			return err
		}
		if err := r.start(ctx); err != nil {
			return fmt.Errorf("restart redis: %w", err)
		}
		return nil
	})
}

var errStopped = errors.New("the server was stopped")

func (r *Redis) with(do func(*process) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return errStopped
	}
	return do(r.process)
}

func (r *Redis) start(ctx context.Context) error {
	path, err := findProgram("redis-server")
	if err != nil {
		return err
	}
	fsync := r.options.Fsync
	if fsync == "" {
		fsync = "everysec"
	}
	appendOnly := "no"
	if r.options.AppendOnly {
		appendOnly = "yes"
	}
	args := []string{
		"--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--dir", r.directory.path, "--save", "",
		"--appendonly", appendOnly, "--appendfsync", fsync,
	}
	logPath := filepath.Join(r.directory.path, "log")
	started, err := startProcess(program{
		path: path, args: append(args, r.options.Args...), stop: syscall.SIGTERM, orphan: syscall.SIGKILL,
	}, logPath)
	if err != nil {
		return err
	}
	if err := started.awaitReady(ctx, logPath, func() bool { return r.answersAs(started.cmd.Process.Pid) }); err != nil {
		return err
	}
	r.process = started
	return nil
}

// answersAs says whether the server at the port is the process pid and has loaded its data. A stranger that took the port
// first must not be taken for ours.
func (r *Redis) answersAs(pid int) bool {
	connection, err := net.DialTimeout("tcp", r.Addr(), time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = connection.Close() }()
	if connection.SetDeadline(time.Now().Add(time.Second)) != nil {
		return false
	}
	if _, err := io.WriteString(connection, "INFO\r\nQUIT\r\n"); err != nil {
		return false
	}
	var ours, loaded bool
	for lines := bufio.NewScanner(connection); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		switch name {
		case "process_id":
			ours = value == strconv.Itoa(pid)
		case "loading":
			loaded = value == "0"
		}
	}
	return ours && loaded
}
