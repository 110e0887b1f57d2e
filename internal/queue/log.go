package queue

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// asynqLog writes asynq's own lines to a slog.Logger. They name tasks and queues and hold no payload. While Redis is away asynq
// says so many times a second; of each level one line a second gets through, with the number of those left out.
type asynqLog struct {
	log *slog.Logger

	mu     sync.Mutex
	levels map[slog.Level]*throttle
}

type throttle struct {
	next    time.Time
	dropped int
}

func newAsynqLog(log *slog.Logger) *asynqLog {
	return &asynqLog{log: log, levels: make(map[slog.Level]*throttle)}
}

// Debug implements asynq.Logger.
func (l *asynqLog) Debug(args ...any) { l.write(slog.LevelDebug, args) }

// Info implements asynq.Logger. asynq tells each step of its start and stop there: of no interest to an operator.
func (l *asynqLog) Info(args ...any) { l.write(slog.LevelDebug, args) }

// Warn implements asynq.Logger.
func (l *asynqLog) Warn(args ...any) { l.write(slog.LevelWarn, args) }

// Error implements asynq.Logger.
func (l *asynqLog) Error(args ...any) { l.write(slog.LevelError, args) }

// Fatal implements asynq.Logger. It does not end the process: a server of asynq never calls it.
func (l *asynqLog) Fatal(args ...any) { l.write(slog.LevelError, args) }

func (l *asynqLog) write(level slog.Level, args []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	dropped, ok := l.pass(level)
	if ok {
		l.log.Log(context.Background(), level, "asynq", "detail", fmt.Sprint(args...), "left_out", dropped)
	}
}

func (l *asynqLog) pass(level slog.Level) (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.levels[level]
	if t == nil {
		t = &throttle{}
		l.levels[level] = t
	}
	now := time.Now()
	if now.Before(t.next) {
		t.dropped++
		return 0, false
	}
	dropped, t.dropped = t.dropped, 0
	t.next = now.Add(time.Second)
	return dropped, true
}
