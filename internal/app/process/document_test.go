package process_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documented is one metric as docs/metrics.md tells it.
type documented struct {
	name, kind string
	// processes are those that expose it.
	processes []string
	labels    []label
	// text is the rest of its section.
	text string
}

type label struct {
	name string
	// values is nil when the document does not bound them.
	values []string
}

var (
	metricHeading = regexp.MustCompile("(?m)^### `(tgfleet_[a-z_]+)`\n\n")
	labelText     = regexp.MustCompile("^((?:`[a-z_]+`, )*`[a-z_]+`): (.+)$")
	quoted        = regexp.MustCompile("`([^`]+)`")
	expression    = regexp.MustCompile("(?s)```promql\n(.+?)```")
	alertLine     = regexp.MustCompile("(?m)^Alert `([A-Za-z]+)`")
)

func readDocument(t *testing.T) (text string, metrics []documented) {
	t.Helper()
	raw, err := os.ReadFile("../../../docs/metrics.md")
	require.NoError(t, err)
	text = string(raw)
	headings := metricHeading.FindAllStringSubmatchIndex(text, -1)
	for _, at := range headings {
		section := text[at[1]:]
		if next := regexp.MustCompile("(?m)^##").FindStringIndex(section); next != nil {
			section = section[:next[0]]
		}
		facts, rest, _ := strings.Cut(section, "\n\n")
		metrics = append(metrics, readFacts(t, text[at[2]:at[3]], facts, rest))
	}
	return text, metrics
}

// readFacts reads the line below a metric's heading: its type, its processes, and its labels with their values.
func readFacts(t *testing.T, name, facts, text string) documented {
	t.Helper()
	parts := strings.Split(strings.ReplaceAll(facts, "\n", " "), " · ")
	require.GreaterOrEqual(t, len(parts), 2, "%s: type and processes", name)
	d := documented{name: name, kind: strings.ToLower(parts[0]), processes: strings.Split(parts[1], ", "), text: text}
	for _, part := range parts[2:] {
		match := labelText.FindStringSubmatch(part)
		require.NotNil(t, match, "%s: %s", name, part)
		for _, labelName := range quotedIn(match[1]) {
			d.labels = append(d.labels, label{name: labelName, values: quotedIn(match[2])})
		}
	}
	return d
}

func quotedIn(text string) (all []string) {
	for _, match := range quoted.FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	return all
}

// series returns the metric's time series as /metrics writes them, labels in the order of their names. Labels whose values are
// not bounded are left out.
func (d documented) series() []string {
	all := []string{""}
	labels := slices.SortedFunc(slices.Values(d.labels), func(a, b label) int { return strings.Compare(a.name, b.name) })
	for _, l := range labels {
		if l.values == nil {
			continue
		}
		var longer []string
		for _, before := range all {
			for _, value := range l.values {
				longer = append(longer, before+","+l.name+`="`+value+`"`)
			}
		}
		all = longer
	}
	for i, inside := range all {
		all[i] = d.name
		if inside != "" {
			all[i] += "{" + inside[1:] + "}"
		}
	}
	return all
}

// expected returns the series that a process must expose, with their types.
func expected(metrics []documented, process string) map[string]string {
	all := map[string]string{}
	for _, d := range metrics {
		if slices.Contains(d.processes, process) {
			for _, series := range d.series() {
				all[series] = d.kind
			}
		}
	}
	return all
}

func TestExpressionsOfTheDocumentNameWhatExists(t *testing.T) {
	t.Parallel()
	text, metrics := readDocument(t)
	known := map[string]documented{}
	for _, d := range metrics {
		require.Contains(t, []string{"counter", "gauge", "histogram"}, d.kind, d.name)
		require.Subset(t, []string{"api", "worker", "listener"}, d.processes, d.name)
		require.Regexp(t, expression, d.text, "%s: what is it for?", d.name)
		known[d.name] = d
	}
	require.Len(t, known, len(metrics), "each metric once")
	for _, match := range expression.FindAllStringSubmatch(text, -1) {
		requireKnown(t, known, match[1])
	}
}

var (
	mentioned = regexp.MustCompile(`(tgfleet_[a-z_]+)(?:\{([^}]*)\})?`)
	anyName   = regexp.MustCompile(`\{__name__=~"([^"]+)"\}`)
	matcher   = regexp.MustCompile(`([a-z_]+)(=~|!=|=)"([^"]*)"`)
	grouping  = regexp.MustCompile(`(?:sum|max|count) by \(([^)]*)\)`)
)

// requireKnown requires that every metric, label and value in a PromQL expression is documented.
func requireKnown(t *testing.T, known map[string]documented, promql string) {
	t.Helper()
	promql = anyName.ReplaceAllStringFunc(promql, func(selector string) string {
		pattern := regexp.MustCompile("^(?:" + anyName.FindStringSubmatch(selector)[1] + ")$")
		fits := slices.Sorted(maps.Keys(known))
		fits = slices.DeleteFunc(fits, func(name string) bool { return !pattern.MatchString(name) })
		require.Greater(t, len(fits), 1, "%s", selector)
		return strings.Join(fits, " ")
	})
	free := []string{"le", "instance", "job"}
	labels := slices.Clone(free)
	for _, mention := range mentioned.FindAllStringSubmatch(promql, -1) {
		d, ok := known[mention[1]]
		if !ok {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(mention[1], "")
			d, ok = known[base]
			require.True(t, ok && d.kind == "histogram", "no metric %s in: %s", mention[1], promql)
		}
		for _, l := range d.labels {
			labels = append(labels, l.name)
		}
		for _, m := range matcher.FindAllStringSubmatch(mention[2], -1) {
			at := slices.IndexFunc(d.labels, func(l label) bool { return l.name == m[1] })
			require.GreaterOrEqual(t, at, 0, "no label %s in: %s", m[1], promql)
			require.Subset(t, d.labels[at].values, strings.Split(m[3], "|"), "%s", promql)
		}
	}
	for _, group := range grouping.FindAllStringSubmatch(promql, -1) {
		require.Subset(t, labels, strings.Split(group[1], ", "), "%s", promql)
	}
}

func TestEachAlertHasAnExpressionAndASeverity(t *testing.T) {
	t.Parallel()
	text, _ := readDocument(t)
	sections, table, found := strings.Cut(text, "\n## Alerts\n")
	require.True(t, found)
	var told []string
	for _, at := range alertLine.FindAllStringSubmatchIndex(sections, -1) {
		name := sections[at[2]:at[3]]
		told = append(told, name)
		next := expression.FindStringIndex(sections[at[1]:])
		require.NotNil(t, next, name)
		require.NotContains(t, sections[at[1]:at[1]+next[0]], "\nAlert `", "%s has no expression", name)
		require.NotContains(t, sections[at[1]:at[1]+next[0]], "\n#", "%s has no expression", name)
	}
	row := regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\| (page|ticket) \\| \\d+m \\| \\[[a-z]+\\]\\(#(tgfleet_[a-z_]+)\\) \\| .+ \\|$")
	var listed []string
	for _, match := range row.FindAllStringSubmatch(table, -1) {
		listed = append(listed, match[1])
		_, section, ok := strings.Cut(sections, "\n### `"+match[3]+"`\n")
		require.True(t, ok, "%s: no section %s", match[1], match[3])
		section, _, _ = strings.Cut(section, "\n#")
		require.Contains(t, section, "\nAlert `"+match[1]+"`")
	}
	require.ElementsMatch(t, told, listed)
	require.Len(t, listed, strings.Count(table, "\n| `"), "each row of the table can be read")
}
