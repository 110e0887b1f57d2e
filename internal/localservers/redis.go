package localservers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
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
	// TLS has the server speak TLS only, with a certificate of this authority; with nil it speaks no TLS.
	TLS *Authority
}

// Redis is one private Redis server. Its methods may be called from any goroutine.
type Redis struct {
	directory *directory
	options   RedisOptions
	port      int
	// first are arguments before all others: the file of a server that keeps its configuration itself.
	first []string

	mu      sync.Mutex
	process *process // nil once stopped
}

// StartRedis starts a server and returns when it answers. ctx bounds the start only.
func StartRedis(ctx context.Context, options RedisOptions) (*Redis, error) {
	var r *Redis
	err := onFreePorts(func() (err error) {
		if r, err = newRedis(options); err == nil {
			err = startAll(ctx, r)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	return r, nil
}

// newRedis returns a server that has a directory and a port, and has not been started.
func newRedis(options RedisOptions) (*Redis, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	directory, err := newDirectory()
	if err != nil {
		return nil, err
	}
	return &Redis{directory: directory, options: options, port: port}, nil
}

// onFreePorts repeats start while other processes are faster to take the ports that it has chosen.
func onFreePorts(start func() error) (err error) {
	for range portTries {
		if err = start(); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// startAll starts servers. After an error none of them is left.
func startAll(ctx context.Context, servers ...*Redis) error {
	for _, server := range servers {
		if err := server.start(ctx); err != nil {
			return errors.Join(err, stopAll(servers))
		}
	}
	return nil
}

// stopAll ends servers, started or not, and removes their data.
func stopAll(servers []*Redis) (err error) {
	for _, server := range servers {
		if server.process == nil {
			err = errors.Join(err, server.directory.remove())
		}
		err = errors.Join(err, server.Stop())
	}
	return err
}

// Addr returns the server's host and port; they stay the same over a Restart.
func (r *Redis) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) }

// URL returns where clients connect; it stays the same over a Restart.
func (r *Redis) URL() string {
	if r.options.TLS != nil {
		return "rediss://" + r.Addr() + "/0?" + r.options.TLS.query()
	}
	return "redis://" + r.Addr() + "/0"
}

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
	args := append([]string{}, r.first...)
	if r.options.TLS == nil {
		args = append(args, "--port", strconv.Itoa(r.port))
	} else {
		args = append(args, r.options.TLS.serving(r.port)...)
	}
	args = append(args,
		"--bind", "127.0.0.1", "--dir", r.directory.path, "--save", "", "--appendonly", appendOnly, "--appendfsync", fsync)
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
	lines, err := r.ask("INFO server", "INFO persistence")
	return err == nil && slices.Contains(lines, "process_id:"+strconv.Itoa(pid)) && !slices.Contains(lines, "loading:1")
}

// ask sends commands, none of which may be PING, and returns all lines of the answers.
func (r *Redis) ask(commands ...string) (lines []string, err error) {
	dialer := net.Dialer{Timeout: time.Second}
	var connection net.Conn
	if r.options.TLS == nil {
		connection, err = dialer.Dial("tcp", r.Addr())
	} else {
		connection, err = r.options.TLS.dial(&dialer, r.Addr())
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(connection, strings.Join(commands, "\r\n")+"\r\nPING\r\n"); err != nil {
		return nil, err
	}
	scanner := bufio.NewScanner(connection)
	for scanner.Scan() {
		line := strings.TrimSpace(scanner.Text())
		if line == "+PONG" {
			return lines, nil
		}
		lines = append(lines, line)
	}
	if scanner.Err() != nil {
		return nil, scanner.Err()
	}
	return nil, io.ErrUnexpectedEOF
}

// within polls done until it is true, and fails with what it waits for when that takes longer than a start may.
func within(ctx context.Context, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		}
	}
	return nil
}
