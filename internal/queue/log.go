package queue

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// asynqLog writes asynq's own lines to a slog.Logger. They name tasks and queues and hold no payload. While Redis is away asynq
// says so many times a second; of each level one line a second gets through, with the number of those left out.
type asynqLog struct {
	debug, warn, failure level
}

func newAsynqLog(log *slog.Logger) *asynqLog {
	return &asynqLog{debug: level{emit: log.Debug}, warn: level{emit: log.Warn}, failure: level{emit: log.Error}}
}

// Debug implements asynq.Logger.
func (l *asynqLog) Debug(args ...any) { l.debug.write(args) }

// Info implements asynq.Logger. asynq tells each step of its start and stop there: of no interest to an operator.
func (l *asynqLog) Info(args ...any) { l.debug.write(args) }

// Warn implements asynq.Logger.
func (l *asynqLog) Warn(args ...any) { l.warn.write(args) }

// Error implements asynq.Logger.
func (l *asynqLog) Error(args ...any) { l.failure.write(args) }

// Fatal implements asynq.Logger. It does not end the process: a server of asynq never calls it.
func (l *asynqLog) Fatal(args ...any) { l.failure.write(args) }

// level is one level of a log.
type level struct {
	emit func(message string, attributes ...any)

	mu      sync.Mutex
	next    time.Time // when a line may be written again
	leftOut int
}

func (l *level) write(args []any) {
	if leftOut, ok := l.pass(); ok {
		l.emit("asynq", "detail", fmt.Sprint(args...), "left_out", leftOut)
	}
}

func (l *level) pass() (leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.next) {
		l.leftOut++
		return 0, false
	}
	leftOut, l.leftOut = l.leftOut, 0
	l.next = now.Add(time.Second)
	return leftOut, true
}
