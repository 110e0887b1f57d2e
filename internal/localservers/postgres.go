package localservers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// PostgresOptions says what a PostgreSQL should be like. The zero value is the fast one for tests: nothing is synced to disk.
type PostgresOptions struct {
	// Settings are more server settings, "name=value"; they win over the defaults, such as fsync=off.
	Settings []string
}

// Postgres is one private PostgreSQL server with the superuser `postgres` and no password. PostgreSQL refuses to run as root:
// when this process is root the server runs as nobody. Its methods may be called from any goroutine.
type Postgres struct {
	directory  *directory
	options    PostgresOptions
	credential *syscall.Credential
	port       int

	mu      sync.Mutex
	process *process // nil once stopped
	frozen  bool
}

// maintenanceDatabase always exists: initdb makes it.
const maintenanceDatabase = "postgres"

// StartPostgres makes a new cluster and returns when its server answers. ctx bounds the start only.
func StartPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	directory, err := newDirectory()
	if err != nil {
		return nil, err
	}
	p := &Postgres{directory: directory, options: options}
	if err = p.initialise(ctx); err == nil {
		for range portTries {
			if p.port, err = FreePort(); err != nil {
				break
			}
			if err = p.start(ctx); !errors.Is(err, errPortTaken) {
				break
			}
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start postgresql: %w", err), directory.remove())
	}
	return p, nil
}

// URL returns where clients connect to a database of this server; it stays the same over a Restart.
func (p *Postgres) URL(database string) string {
	address := url.URL{
		Scheme: "postgres", User: url.User("postgres"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
		Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return address.String()
}

// CreateDatabase makes a database as a copy of the database template, which nobody may be connected to; an empty template means
// a database without anything in it.
func (p *Postgres) CreateDatabase(ctx context.Context, name, template string) error {
	if template == "" {
		template = "template0"
	}
	statement := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize() + " TEMPLATE " + pgx.Identifier{template}.Sanitize()
	if err := p.exec(ctx, statement); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

// DropDatabase removes a database and cuts its connections. A database that does not exist is no error.
func (p *Postgres) DropDatabase(ctx context.Context, name string) error {
	if err := p.exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// Stop ends the server, cutting its connections, and removes its data. A second Stop does nothing.
func (p *Postgres) Stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return nil
	}
	err := errors.Join(p.thaw(p.process), p.process.stop())
	p.process = nil
	return errors.Join(err, p.directory.remove())
}

// Kill ends the server as a crash would and keeps its data for Restart. What runs in its connections breaks off.
func (p *Postgres) Kill() error {
	return p.with(func(running *process) error {
		if err := p.thaw(running); err != nil {
			return err
		}
		// SIGQUIT is PostgreSQL's immediate shutdown: no checkpoint, recovery at the next start, and unlike after SIGKILL the
		// processes of its connections are gone when it has ended.
		if err := running.signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		<-running.ended
		return nil
	})
}

// Restart starts the server again on the same port and data; it ends a running one in good order first.
func (p *Postgres) Restart(ctx context.Context) error {
	return p.with(func(running *process) error {
		if err := errors.Join(p.thaw(running), running.stop()); err != nil {
			return err
		}
		if err := p.start(ctx); err != nil {
			return fmt.Errorf("restart postgresql: %w", err)
		}
		return nil
	})
}

// Pause freezes the server with all its connections: they stay open and nothing answers, until Resume, Kill, Restart or Stop. A
// frozen server is the one that outlives a killed parent: it ends when it is resumed.
func (p *Postgres) Pause() error {
	return p.with(func(running *process) error {
		// The parent first, so that it makes no new process meanwhile.
		if err := running.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		p.frozen = true
		children, err := childrenOf(running.cmd.Process.Pid)
		for _, pid := range children {
			err = errors.Join(err, signalIfThere(pid, syscall.SIGSTOP))
		}
		return err
	})
}

// Resume lets a frozen server go on.
func (p *Postgres) Resume() error { return p.with(p.thaw) }

// thaw lets all processes of the server go on. A server that is not frozen is left alone.
func (p *Postgres) thaw(running *process) error {
	if !p.frozen {
		return nil
	}
	p.frozen = false
	children, err := childrenOf(running.cmd.Process.Pid)
	for _, pid := range children {
		err = errors.Join(err, signalIfThere(pid, syscall.SIGCONT))
	}
	return errors.Join(err, running.signal(syscall.SIGCONT))
}

func (p *Postgres) with(do func(*process) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return errStopped
	}
	return do(p.process)
}

func (p *Postgres) exec(ctx context.Context, statement string) error {
	connection, err := pgx.Connect(ctx, p.URL(maintenanceDatabase))
	if err != nil {
		return err
	}
	_, err = connection.Exec(ctx, statement)
	return errors.Join(err, connection.Close(ctx))
}

func (p *Postgres) dataPath() string { return filepath.Join(p.directory.path, "data") }

// initialise runs initdb, as nobody when this process is root.
func (p *Postgres) initialise(ctx context.Context) error {
	path, err := findProgram("initdb")
	if err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if p.credential, err = nobody(); err != nil {
			return err
		}
		if err := os.Chown(p.directory.path, int(p.credential.Uid), int(p.credential.Gid)); err != nil {
			return fmt.Errorf("give the server its directory: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, path, "--pgdata="+p.dataPath(), "--username=postgres", "--auth=trust", "--encoding=UTF8",
		"--locale=C.UTF-8", "--no-sync", "--no-instructions")
	cmd.Dir = p.directory.path
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.credential}
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", path, err, strings.TrimSpace(string(output)))
	}
	return nil
}

func nobody() (*syscall.Credential, error) {
	account, err := user.Lookup("nobody")
	if err != nil {
		return nil, fmt.Errorf("postgresql does not run as root: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("id of nobody: %w", err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("group of nobody: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (p *Postgres) start(ctx context.Context) error {
	path, err := findProgram("postgres")
	if err != nil {
		return err
	}
	settings := append([]string{
		"port=" + strconv.Itoa(p.port), "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300",
		"fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=64MB", "timezone=UTC",
	}, p.options.Settings...)
	args := []string{"-D", p.dataPath()}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	// A crashed server leaves this file behind, and its text would pass for the new server's.
	if err := os.Remove(p.statusPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the old status of postgresql: %w", err)
	}
	logPath := filepath.Join(p.directory.path, "log")
	started, err := startProcess(program{
		path: path, args: args, stop: syscall.SIGINT, orphan: syscall.SIGQUIT, credential: p.credential,
	}, logPath)
	if err != nil {
		return err
	}
	if err := started.awaitReady(ctx, logPath, p.ready); err != nil {
		return err
	}
	p.process = started
	return nil
}

func (p *Postgres) statusPath() string { return filepath.Join(p.dataPath(), "postmaster.pid") }

// ready reads the server's own status file, whose eighth line is its state; a stranger on the port can't be mistaken for it.
func (p *Postgres) ready() bool {
	text, err := os.ReadFile(p.statusPath())
	if err != nil {
		return false
	}
	lines := strings.Split(string(text), "\n")
	return len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"
}
