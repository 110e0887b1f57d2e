// Package obs is what an operator sees of a process: its log, its metrics, and whether it lives and can serve. /health speaks
// only of the process's own loops, never of a dependency: a restart would not mend one. /ready speaks of what the process
// needs to do its work, and answers in bounded time even when a dependency hangs. What a process logs and counts is the business of the
// code that does the work; this package knows nothing of it.
package obs

import (
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewLogger returns a logger that writes to w in the format "json" (also for any other word) or "text". Times are in UTC;
// in JSON a duration is a number of seconds, as it is in metrics.
func NewLogger(w io.Writer, level slog.Level, format string) *slog.Logger {
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: inUTC}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: inUTCAndSeconds}))
}

func inUTC(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindTime {
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	}
	return a
}

func inUTCAndSeconds(groups []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Round(time.Microsecond).Seconds())
	}
	return inUTC(groups, a)
}

// NewRegistry returns a registry with the collectors that every process has: the Go runtime, the process itself, and
// tgfleet_build_info, which is always 1 and tells by its labels what is running.
func NewRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(debug.ReadBuildInfo()),
	)
	return reg
}

func buildInfo(info *debug.BuildInfo, ok bool) prometheus.Collector {
	version, revision, goVersion := "unknown", "unknown", "unknown"
	if ok {
		version, goVersion = info.Main.Version, info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "tgfleet_build_info",
		Help:        "Always 1; its labels tell what is running.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "go_version": goVersion},
	})
	gauge.Set(1)
	return gauge
}
